"""What every page has: the template's frame, the figures' data, and the policy that keeps the page offline."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from reports.palette import DARK, LIGHT, dark_colours
from reports.wording import control_label, duration, interval, label, percent, points, setting, signed

HERE = Path(__file__).parent


def whole_page(template: str, styles: Iterable[str], figures: Mapping[str, go.Figure], **content: Any) -> str:
    """One HTML file that needs no other: the template with its content, each figure drawn at `plot-<name>`.

    template, styles: files beside this one.
    """
    plotly_script, page_script = get_plotlyjs(), _asset("page.js")
    return _template(template).render(
        policy=content_policy((plotly_script, page_script)),
        plotly_script=plotly_script,
        page_script=page_script,
        css="".join(_asset(style) for style in styles),
        light=LIGHT,
        dark=DARK,
        figures=figure_data(figures),
        figure_names=tuple(figures),
        **content,
    )


def content_policy(scripts: Iterable[str]) -> str:
    """The page's Content-Security-Policy: only these scripts run, and nothing is ever fetched.

    Plotly lays its figures out with style elements that it adds itself, hence inline styles.
    """
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {allowed}",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def figure_data(figures: Mapping[str, go.Figure]) -> str:
    """The figures and the dark theme's colours as JSON that may stand inside a script element."""
    drawings = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    text = json.dumps({"figures": drawings, "dark": dark_colours()}, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for word in (control_label, duration, interval, label, percent, points, setting, signed):
        environment.filters[word.__name__] = word
    return environment.get_template(name)

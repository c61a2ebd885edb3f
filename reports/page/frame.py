"""Common parts of all pages: the template's frame, the figures' data, and the policy against network access."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from reports.figures.palette import DARK, LIGHT, css_variables, dark_colours
from reports.formatting import control_label, duration, interval, label, percent, points, setting, signed

HERE = Path(__file__).parent

Tables = Mapping[str, Mapping[str, Sequence[Any]]]
"""Of a figure's name: its data, columns by name."""


def whole_page(
    template: str, styles: Iterable[str], figures: Mapping[str, go.Figure], tables: Tables, **content: Any
) -> str:
    """One self-contained HTML file: the template with its content, each figure drawn at `plot-<name>`.

    template, styles: files beside this one.  tables: for the buttons with a figure's data.
    """
    plotly, page_script = plotly_script(), _asset("page.js")
    return _template(template).render(
        policy=_content_policy((plotly, page_script)),
        plotly_script=plotly,
        page_script=page_script,
        css="".join(_asset(style) for style in styles),
        light=css_variables(LIGHT),
        dark=css_variables(DARK),
        figures=figure_data(figures, tables),
        **content,
    )


def plotly_script() -> str:
    """Plotly's script with its one large function in parentheses.

    Browsers compile a function in parentheses at once; others they skim first, and read again at the call. This saves a
    quarter of the script's time.
    """
    script = get_plotlyjs()
    before, opening, rest = script.partition("this, () => {\n")
    body, closing, after = rest.rpartition("}));")
    found = opening and closing and not after.strip()
    return f"{before}this, (() => {{\n{body}}})));{after}" if found else script


def _content_policy(scripts: Iterable[str]) -> str:
    """The page's Content-Security-Policy: only these scripts run, and nothing is ever fetched.

    Plotly adds style elements for its layout, hence inline styles.
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


def figure_data(figures: Mapping[str, go.Figure], tables: Tables) -> str:
    """The figures, their data and the dark theme's colours: JSON, compressed, in base64.

    Several figures show the same trials: each text of a hover box is held once, in `texts`, and each column of a table
    in `columns`; figures and tables hold indices.
    """
    drawings = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    texts: dict[str, int] = {}
    for drawing in drawings.values():
        for trace in drawing["data"]:
            if isinstance(trace.get("hovertext"), list):
                trace["hovertext"] = [texts.setdefault(text, len(texts)) for text in trace["hovertext"]]
    columns: dict[str, int] = {}
    indices = {
        name: {head: columns.setdefault(json.dumps(list(column)), len(columns)) for head, column in table.items()}
        for name, table in tables.items()
    }
    content = {
        "figures": drawings,
        "texts": list(texts),
        "tables": indices,
        "columns": [json.loads(column) for column in columns],
        "dark": dark_colours(),
    }
    compact = json.dumps(content, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(compact, compresslevel=6, mtime=0)).decode()


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

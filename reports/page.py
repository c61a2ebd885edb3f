"""One self-contained page: the template filled, the figures' data, and the policy that keeps the page offline."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from reports.answer import answer, caveats, unfinished
from reports.figures import frontier_figure, frontier_info, hypervolume_figure, hypervolume_info
from reports.frontier import hypervolume
from reports.palette import DARK, LIGHT, dark_colours
from reports.study_folder import Study
from reports.tables import STATE_LABELS, failures, front_rows, mean_overhead, trials_table
from reports.trial_table import trial_costs
from reports.wording import control_label, duration, interval, label, percent, points, setting, signed

HERE = Path(__file__).parent


class Picture(NamedTuple):
    """uri: the whole picture as a data URI; width, height: in pixels."""

    uri: str
    width: int
    height: int


def render(study: Study) -> str:
    """The page, as the text of one HTML file."""
    found = answer(study)
    frontier = frontier_info(study)
    figures = {"frontier": frontier_figure(frontier)}
    if len(study.complete) > 1:
        figures["hypervolume"] = hypervolume_figure(hypervolume_info(study))
    plotly_script, page_script = get_plotlyjs(), _asset("page.js")
    return _template().render(
        policy=content_policy((plotly_script, page_script)),
        plotly_script=plotly_script,
        page_script=page_script,
        css=_asset("page.css"),
        light=LIGHT,
        dark=DARK,
        summary=study.summary,
        victim=study.victim.scores,
        states=[(state, name, study.count(state)) for state, name in STATE_LABELS.items() if study.count(state)],
        unfinished=unfinished(study),
        answer=found,
        allowed=f"{100 * study.summary['max_acc_drop']:g}",
        caveats=caveats(study),
        frontier=frontier,
        front=front_rows(study),
        hypervolume=f"{hypervolume(trial_costs(study.complete)):.4f}",
        picture=_picture(study.picture),
        table=trials_table(study),
        failures=failures(study.trials),
        confirmed=any(rival.test for rival in found.rivals),
        overhead=mean_overhead(study.complete),
        config=json.dumps(study.config, indent=2, ensure_ascii=False),
        figures=figure_data(figures),
        figure_names=tuple(figures),
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


def _picture(png: bytes | None) -> Picture | None:
    """With the size from the file's header, so that the page does not move when the picture appears."""
    if png is None:
        return None
    width, height = struct.unpack(">II", png[16:24])
    return Picture(f"data:image/png;base64,{base64.b64encode(png).decode()}", width, height)


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for word in (control_label, duration, interval, label, percent, points, setting, signed):
        environment.filters[word.__name__] = word
    return environment.get_template("page.html")

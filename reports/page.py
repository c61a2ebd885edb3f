"""One self-contained page: the template filled, the figures' data, and the policy that keeps the page offline."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from reports.answer import answer, caveats, unfinished
from reports.figures import exhibits
from reports.frontier import hypervolume
from reports.palette import DARK, LIGHT, dark_colours
from reports.study_folder import Study
from reports.tables import failures, front_rows, mean_overhead, trials_table
from reports.trial_table import trial_costs
from reports.wording import STATE_LABELS, control_label, duration, interval, label, percent, points, setting, signed

HERE = Path(__file__).parent


class Picture(NamedTuple):
    """uri: the whole picture as a data URI; width, height: in pixels."""

    uri: str
    width: int
    height: int


def render(study: Study) -> str:
    """The page, as the text of one HTML file."""
    found, shown = answer(study), exhibits(study)
    drawings = {place(name, i): panel.drawing for name, one in shown.items() for i, panel in enumerate(one.panels)}
    tables = {name: one.data for name, one in shown.items() if one.panels}
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
        exhibits=shown,
        place=place,
        front=front_rows(study),
        hypervolume=f"{hypervolume(trial_costs(study.complete)):.4f}",
        picture=_picture(study.picture),
        attention=_picture(study.attention),
        table=trials_table(study),
        failures=failures(study.trials),
        confirmed=any(rival.test for rival in found.rivals),
        overhead=mean_overhead(study.complete),
        config=json.dumps(study.config, indent=2, ensure_ascii=False),
        hashes=_hashes(study),
        seeds=_seeds(study),
        trial_seconds=float(study.trials["seconds"].sum()),
        figures=figure_data(drawings, tables),
    )


def place(name: str, panel: int) -> str:
    """The name of a panel's place in the page: that of its figure, numbered from the second on."""
    return f"{name}-{panel}" if panel else name


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


def figure_data(figures: Mapping[str, go.Figure], tables: Mapping[str, Mapping[str, Sequence[Any]]]) -> str:
    """The figures, their data and the dark theme's colours: JSON, compressed, in base64.

    Several figures show the same trials: each text of a hover box is held once, in `texts`, and each column of a table
    in `columns`; figures and tables hold indices.  tables: by figure, columns by name.
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


def _hashes(study: Study) -> list[tuple[str, str]]:
    """SHA-256 of what the study started from, as far as its folder says."""
    identity = study.config.get("identity")
    images = identity.get("images") if isinstance(identity, dict) else None
    return [("victim", study.summary["victim_sha256"]), *([("images", str(images))] if images else [])]


def _seeds(study: Study) -> list[tuple[str, str]]:
    """The study's seed, and that of its trials where they share one."""
    distinct = study.trials["seed"].dropna().unique()
    shared = f"{distinct[0]:.0f}" if len(distinct) == 1 else "one each, in trials.csv"
    return [("seed", str(study.summary["seed"])), ("seed of the trials", shared)]


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

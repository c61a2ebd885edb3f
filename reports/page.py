"""The page of one study: its template filled with what the study says."""

from __future__ import annotations

import base64
import json
import struct
from typing import NamedTuple

import plotly.graph_objects as go

from reports.answer import answer, caveats, unfinished
from reports.figures import frontier_figure, frontier_info, hypervolume_figure, hypervolume_info
from reports.frame import whole_page
from reports.frontier import hypervolume
from reports.study_folder import Study
from reports.tables import STATE_LABELS, failures, front_rows, mean_overhead, trials_table
from reports.trial_table import trial_costs


class Picture(NamedTuple):
    """uri: the whole picture as a data URI; width, height: in pixels."""

    uri: str
    width: int
    height: int


def render(study: Study) -> str:
    """The page, as the text of one HTML file."""
    found = answer(study)
    return whole_page(
        "page.html",
        ["page.css"],
        study_figures(study),
        summary=study.summary,
        victim=study.victim.scores,
        states=[(state, name, study.count(state)) for state, name in STATE_LABELS.items() if study.count(state)],
        unfinished=unfinished(study),
        answer=found,
        allowed=f"{100 * study.summary['max_acc_drop']:g}",
        caveats=caveats(study),
        frontier=frontier_info(study),
        front=front_rows(study),
        hypervolume=f"{hypervolume(trial_costs(study.complete)):.4f}",
        picture=_picture(study.picture),
        table=trials_table(study),
        failures=failures(study.trials),
        confirmed=any(rival.test for rival in found.rivals),
        overhead=mean_overhead(study.complete),
        config=json.dumps(study.config, indent=2, ensure_ascii=False),
    )


def study_figures(study: Study) -> dict[str, go.Figure]:
    """The page's figures by name, in its order."""
    figures = {"frontier": frontier_figure(frontier_info(study))}
    if len(study.complete) > 1:
        figures["hypervolume"] = hypervolume_figure(hypervolume_info(study))
    return figures


def _picture(png: bytes | None) -> Picture | None:
    """With the size from the file's header, so that the page does not move when the picture appears."""
    if png is None:
        return None
    width, height = struct.unpack(">II", png[16:24])
    return Picture(f"data:image/png;base64,{base64.b64encode(png).decode()}", width, height)

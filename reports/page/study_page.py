"""The page of one study: its template filled from the study."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import NamedTuple

import plotly.graph_objects as go

from reports.analysis.frontier import hypervolume
from reports.answer import BESIDE, answer
from reports.caveats import caveats, unfinished
from reports.figures import FigureSection, figure_sections
from reports.figures.frontier_info import frontier_info
from reports.figures.static_svg import static_svg
from reports.formatting import STATE_LABELS
from reports.page.frame import whole_page
from reports.study_folder import Study
from reports.tables import failures, front_rows, mean_overhead, pruned, setting_rows, trials_table
from reports.trial_table import trial_costs


class Picture(NamedTuple):
    """uri: the whole picture as a data URI; width, height: in pixels."""

    uri: str
    width: int
    height: int


def render(study: Study) -> str:
    """The page, as the text of one HTML file."""
    found, shown = answer(study), figure_sections(study)
    return whole_page(
        "page.html",
        ["page.css"],
        _drawings(shown),
        {name: one.data for name, one in shown.items() if one.panels},
        summary=study.summary,
        victim=study.victim.scores,
        states=[(state, name, study.count(state)) for state, name in STATE_LABELS.items() if study.count(state)],
        unfinished=unfinished(study),
        answer=found,
        beside=BESIDE,
        caveats=caveats(study),
        sections=shown,
        static_svg=static_svg(frontier_info(study)),
        place=place,
        front=front_rows(study),
        hypervolume=f"{hypervolume(trial_costs(study.reliable)):.4f}",
        picture=_picture(study.picture),
        attention=_picture(study.attention),
        settings=setting_rows(study),
        estimated_scores=study.estimated,
        table=trials_table(study),
        failures=failures(study.trials),
        pruned=pruned(study.trials),
        confirmed=any(rival.test for rival in found.rivals),
        unbalanced=study.unbalanced,
        overhead=mean_overhead(study.complete),
        config=json.dumps(study.config, indent=2, ensure_ascii=False),
        hashes=_hashes(study),
        seeds=_seeds(study),
        trial_seconds=float(study.trials["seconds"].sum()),
    )


def study_figures(study: Study) -> dict[str, go.Figure]:
    """The page's drawings by the name of their place, in its order."""
    return _drawings(figure_sections(study))


def _drawings(shown: Mapping[str, FigureSection]) -> dict[str, go.Figure]:
    return {place(name, i): panel.drawing for name, one in shown.items() for i, panel in enumerate(one.panels)}


def place(name: str, panel: int) -> str:
    """Name of a panel's place in the page: its figure's, numbered from the second on."""
    return f"{name}-{panel}" if panel else name


def _hashes(study: Study) -> list[tuple[str, str]]:
    """SHA-256 of the victim and the images, if recorded."""
    identity = study.config.get("identity")
    images = identity.get("images") if isinstance(identity, dict) else None
    return [("victim", study.summary.victim_sha256), *([("images", str(images))] if images else [])]


def _seeds(study: Study) -> list[tuple[str, str]]:
    """The study's seed, and that of its trials if they share one."""
    distinct = study.trials["seed"].dropna().unique()
    shared = f"{distinct[0]:.0f}" if len(distinct) == 1 else "one each, in trials.csv"
    return [("seed", str(study.summary.seed)), ("seed of the trials", shared)]


def _picture(png: bytes | None) -> Picture | None:
    """With the size from the file's header, so the page does not move when the picture loads."""
    if png is None:
        return None
    width, height = struct.unpack(">II", png[16:24])
    return Picture(f"data:image/png;base64,{base64.b64encode(png).decode()}", width, height)

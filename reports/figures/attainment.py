"""How far the front moves from draw to draw: attainment of the confirmed trials on the test images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from reports.analysis.frontier import ROUNDING, attainment
from reports.analysis.objectives import Floats, costs
from reports.figures.drawing import layout
from reports.figures.palette import LIGHT
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import percent, settings
from reports.study_folder import Study

NAME, TITLE = "attainment", "The front of each draw"


class AttainmentInfo(NamedTuple):
    """Scores attained by the confirmed trials together in one, in half, and in all draws of clean images.

    asr: (m,), ascending; acc: (draws, m), in row k - 1 the highest ACC reached by k draws at no more than this ASR,
    -inf if fewer do.  trials: those finished in every draw, so each draw's front is of the same trials.
    least_acc: the victim's on the test images minus the allowed loss.
    """

    asr: Floats
    acc: Floats
    settings: int
    least_acc: float

    @property
    def draws(self) -> int:
        return len(self.acc)

    @property
    def half(self) -> int | None:
        """The row attained by at least half of the draws; None for two draws, whose half is the best."""
        return (self.draws - 1) // 2 if self.draws > 2 else None


def attainment_info(study: Study) -> AttainmentInfo | None:
    """None for fewer than two draws with a trial in common."""
    confirmed = [point.test.runs for point in study.confirmed.values() if point.test]
    draws = sorted({run.draw for runs in confirmed for run in runs})
    whole = [runs for runs in confirmed if len(runs) == len(draws)]
    if len(draws) < 2 or not whole:
        return None
    by_draw = [{run.draw: run for run in runs} for runs in whole]
    sets = [costs(np.array([(runs[draw].asr, runs[draw].acc) for runs in by_draw])) for draw in draws]
    asr, errors = attainment(sets)
    victim = study.victim.test or study.victim.scores
    return AttainmentInfo(asr, 1 - errors, len(whole), victim.acc - study.summary.max_acc_drop)


def attainment_figure(info: AttainmentInfo) -> go.Figure:
    """A band from the worst draw's attainment to the best draw's, and the median as a line."""
    figure = go.Figure(layout=layout())
    floor = float(info.acc[np.isfinite(info.acc)].min()) - 0.01
    edges = [(info.draws - 1, "all draws", "dot"), (0, "best draw", "dash")]
    if info.half is not None:
        edges.append((info.half, "at least half of them", "solid"))
    for row, name, dash in edges:
        x, y = _steps(info.asr, info.acc[row], floor)
        figure.add_scatter(
            x=100 * x,
            y=100 * y,
            mode="lines",
            name=name,
            line={"color": LIGHT.accent if dash == "solid" else LIGHT.muted, "width": 2, "dash": dash},
            fill="tonexty" if dash == "dash" else None,
            fillcolor=LIGHT.line,
            hoverinfo="skip",
        )
    figure.update_xaxes(title_text="attack success rate", range=[-2, 102], ticksuffix="%", dtick=20)
    figure.update_yaxes(title_text="clean accuracy", ticksuffix="%")
    return figure


def _steps(asr: Floats, acc: Floats, floor: float) -> tuple[Floats, Floats]:
    """The edge as a step line: up from the floor at the lowest ASR reached, and on to ASR 1."""
    there = np.isfinite(acc)
    x, y = np.append(asr[there], 1.0), acc[there]
    return np.repeat(x, 2)[:-1], np.append(floor, np.repeat(y, 2))


def attainment_section(study: Study) -> FigureSection:
    """The figure for the page."""
    info = attainment_info(study)
    if info is None:
        return too_little(
            NAME,
            TITLE,
            "A band takes at least two draws of clean images, from --confirm, and a setting finished in each.",
        )
    columns = {"asr": [round(value, 6) for value in info.asr.tolist()]}
    for count, row in enumerate(info.acc.tolist(), start=1):
        columns[f"acc in {count} of {info.draws} draws"] = [
            round(value, 6) if np.isfinite(value) else "" for value in row
        ]
    label = (
        f"Clean accuracy against attack success rate, reached by {settings(info.settings)} in one, some and all draws."
    )
    note = (
        "On the test images. A draw is another defender's clean images, with seeds of its own; its front is of the"
        f" {settings(info.settings)} confirmed and finished in every draw. The best draw may change from one ASR to the"
        " next."
    )
    return FigureSection(NAME, TITLE, sentence(info), note, (Panel(attainment_figure(info), label),), columns, 24.0)


def sentence(info: AttainmentInfo) -> str:
    """Lowest ASR at enough accuracy in the best and the worst draw.

    Below that accuracy the classifier is ruined.
    """
    best, worst = (info.asr[info.acc[row] >= info.least_acc - ROUNDING] for row in (0, -1))
    who = f"With one and the same {settings(info.settings)}"
    if best.size == 0:
        return f"{who}, no draw keeps the least accuracy allowed, {percent(info.least_acc)}."
    reached = f"{who}, the luckiest of {info.draws} draws gets down to {percent(best.min())} ASR at an allowed accuracy"
    if worst.size == 0:
        return f"{reached}; not every draw has a setting with so much accuracy."
    return f"{reached}, and all draws to {percent(worst.min())}."

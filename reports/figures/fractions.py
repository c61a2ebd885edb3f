"""The frontier of each clean fraction on its own: the gain from more clean data."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from reports.analysis.frontier import front_order, hypervolume, step_line
from reports.analysis.objectives import Floats, costs
from reports.figures.drawing import layout
from reports.figures.frontier_info import FrontierInfo, TrialGroup, drawn_acc, frontier_info
from reports.figures.palette import LIGHT
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import percent, settings
from reports.study_folder import Study

NAME, TITLE = "fractions", "The frontier of each clean fraction"


class FractionFront(NamedTuple):
    """One clean fraction.  front: numbers of its reliable, non-dominated settings; line: as in FrontierInfo.

    best: lowest ASR of its reliable settings inside the accuracy bound, or None.
    """

    group: TrialGroup
    front: tuple[int, ...]
    line: Floats
    hypervolume: float
    best: float | None


class FractionsInfo(NamedTuple):
    frontier: FrontierInfo
    fronts: tuple[FractionFront, ...]


def fractions_info(study: Study) -> FractionsInfo:
    """A front for each group of the frontier's legend."""
    whole = frontier_info(study)
    return FractionsInfo(whole, tuple(_front(group, study.kept) for group in whole.groups))


def fraction_figure(info: FractionsInfo, index: int) -> go.Figure:
    """The settings of one clean fraction with their own front, and the front of all behind it."""
    own, whole = info.fronts[index], info.frontier
    figure = go.Figure(layout=layout())
    figure.add_hline(y=100 * whole.least_acc, line={"color": LIGHT.muted, "width": 1.5, "dash": "dash"}, layer="below")
    lines = ((whole.line, LIGHT.muted, "dot"), (own.line, own.group.colour, "solid"))
    for line, colour, dash in lines:
        figure.add_scatter(
            x=100 * line[:, 0],
            y=100 * line[:, 1],
            mode="lines",
            line={"color": colour, "width": 1.5, "dash": dash},
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=100 * own.group.asr,
        y=100 * drawn_acc(own.group.acc, whole.acc_range),
        mode="markers",
        marker={
            "color": own.group.colour,
            "size": 8,
            "symbol": np.where(own.group.reliable, "circle", "circle-open").tolist(),
        },
        hovertext=own.group.hover,
        hoverinfo="text",
        cliponaxis=False,
    )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text="ASR", range=[-3, 103], ticksuffix="%", dtick=50)
    figure.update_yaxes(title_text="ACC", range=[100 * acc for acc in whole.acc_range], ticksuffix="%")
    return figure


def fractions_section(study: Study) -> FigureSection:
    """The figure for the page: a panel for each clean fraction."""
    info = fractions_info(study)
    if len(info.fronts) < 2:
        return too_little(NAME, TITLE, "All settings have the same share of clean data: see the frontier above.")
    panels = tuple(
        Panel(
            fraction_figure(info, index),
            f"ASR and accuracy of {settings(len(one.group.numbers))} with {one.group.label} clean data.",
            f"{one.group.label} clean data",
        )
        for index, one in enumerate(info.fronts)
    )
    rows = [
        (one.group.label, number, asr, acc, number in one.front)
        for one in info.fronts
        for number, asr, acc in zip(one.group.numbers, one.group.asr, one.group.acc, strict=True)
    ]
    heads = ("clean data", "setting", "asr", "acc", "on this fraction's front")
    columns = zip(*((a, n, round(float(x), 6), round(float(y), 6), on) for a, n, x, y, on in rows), strict=True)
    return FigureSection(
        NAME,
        TITLE,
        sentence(info),
        "Solid: the front of these settings alone. Dotted: the front of all. Dashed: the least accuracy allowed."
        " Hollow: too few draws for a front. Settings below the axis are drawn at its lower edge.",
        panels,
        dict(zip(heads, map(list, columns), strict=True)),
        17.0,
    )


def sentence(info: FractionsInfo) -> str:
    """Lowest ASR at enough accuracy for each fraction, with the fraction's number of settings."""
    parts = []
    for one in info.fronts:
        reached = "none at enough accuracy" if one.best is None else percent(one.best)
        parts.append(f"{one.group.label}: {reached} (of {settings(len(one.group.numbers))})")
    return (
        f"Lowest ASR at enough accuracy, by clean data – {'; '.join(parts)}."
        " A fraction with more settings had more chances."
    )


def _front(group: TrialGroup, keeping: Set[int]) -> FractionFront:
    numbers = np.array(group.numbers)[group.reliable]
    asr = group.asr[group.reliable]
    cost = costs(np.column_stack((asr, group.acc[group.reliable])))
    steps = step_line(cost)
    kept = asr[np.isin(numbers, list(keeping))]
    return FractionFront(
        group,
        tuple(numbers[front_order(cost)].tolist()),
        np.column_stack((steps[:, 0], 1 - steps[:, 1])),
        hypervolume(cost),
        float(kept.min()) if len(kept) else None,
    )

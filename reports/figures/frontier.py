"""The frontier: every complete trial by ASR and accuracy, the front, and what it is measured against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.analysis.frontier import front_order, knee, step_line
from reports.analysis.intervals import Interval
from reports.analysis.objectives import Floats
from reports.figures.confirmation import Confirmed, confirmation_info
from reports.figures.drawing import escape, hover, layout
from reports.figures.frontier_names import add_names
from reports.figures.groups import Texts, clean_fraction_groups, point_hover, shares, trial_hovers
from reports.figures.palette import LIGHT
from reports.figures.section import Exhibit, Panel
from reports.formatting import control_label, percent, readable_params, seeds, setting, with_interval
from reports.study_folder import FreshScores, Point, Scores, Study, trial_scores
from reports.trial_table import trial_costs

NAME, TITLE = "frontier", "All trials by attack success rate and clean accuracy"
CONTROL_SYMBOLS = ("diamond-open", "square-open", "triangle-up-open", "pentagon-open", "hexagram-open", "star-open")
TICKS = (1, 2, 5, 10, 20)
"""Points of ASR from one tick to the next."""
SPAN_TO_SCALE = 0.25
"""The least that the axis shows below the victim's accuracy: a collapse further down would flatten all the rest. Of
ASR, what most trials have to stay within for the axis to end there."""
LEAST_ASR_SPAN = 0.05
"""The least that the axis of ASR shows."""


class TrialGroup(NamedTuple):
    """Trials that share a colour.  asr, acc: (n,) fractions."""

    label: str
    colour: str
    numbers: tuple[int, ...]
    asr: Floats
    acc: Floats
    hover: Texts


class Mark(NamedTuple):
    """A named point: a control, the victim, or the recommended setting. One symbol for each name."""

    label: str
    symbol: str
    scores: Scores
    hover: str


class FrontierInfo(NamedTuple):
    """line: (m, 2) vertices of the front as (ASR, ACC).  knee: None where the recommended point is the knee.
    acc_range, most_asr: what the vertical axis shows, and how far the horizontal one goes; points beyond are drawn at
    the edge.  below, beyond: how many trials those are."""

    groups: tuple[TrialGroup, ...]
    front: tuple[int, ...]
    line: Floats
    victim: Mark
    controls: tuple[Mark, ...]
    recommended: Mark | None
    knee: Mark | None
    confirmed: tuple[Confirmed, ...]
    least_acc: float
    acc_range: tuple[float, float]
    most_asr: float
    below: int
    beyond: int

    def place(self, scores: Floats) -> Floats:
        """Where (ASR, ACC) points are drawn.  scores: (n, 2) fractions, as is the result."""
        asr = np.minimum(scores[:, 0], self.most_asr)
        return np.column_stack((asr, drawn_acc(scores[:, 1], self.acc_range)))


def frontier_info(study: Study) -> FrontierInfo:
    """All complete trials, their front, and what they are measured against."""
    complete, controls, hovers = study.complete, _control_marks(study.controls), trial_hovers(study)
    acc = complete["acc"].to_numpy()
    asr = complete["asr"].to_numpy()
    acc_range = _acc_range([*acc, *(mark.scores.acc for mark in controls)], study.victim.scores.acc, study.least_acc)
    most_asr = _most_asr([*asr, *(mark.scores.asr for mark in controls)])
    costs = trial_costs(complete)
    bend, chosen = knee(costs), study.recommended
    bent = None if bend is None else _trial_point("knee", complete.iloc[bend].to_dict())
    steps = step_line(costs)
    return FrontierInfo(
        groups=tuple(
            _group(complete[mask], label, colour, hovers[mask])
            for label, colour, mask in clean_fraction_groups(complete)
        ),
        front=tuple(complete["number"].iloc[front_order(costs)]),
        line=np.column_stack((steps[:, 0], 1 - steps[:, 1])),
        victim=_mark(control_label(study.victim.name), "circle-x-open", study.victim),
        controls=controls,
        recommended=_mark("recommended", "circle-open", chosen) if chosen else None,
        knee=_mark("knee", "circle-open", bent) if bent and not (chosen and bent.number == chosen.number) else None,
        confirmed=confirmation_info(study),
        least_acc=study.least_acc,
        acc_range=acc_range,
        most_asr=most_asr,
        below=int((acc < acc_range[0]).sum()),
        beyond=int((asr > most_asr).sum()),
    )


def frontier_figure(info: FrontierInfo) -> go.Figure:
    """ASR to the right, accuracy upwards: the better trials are at the top left."""
    figure = go.Figure(layout=layout())
    figure.add_hline(y=100 * info.least_acc, line={"color": LIGHT.muted, "width": 1.5, "dash": "dash"}, layer="below")
    line = {"color": LIGHT.ink, "width": 1.5}
    figure.add_scatter(
        x=100 * info.line[:, 0],
        y=100 * info.line[:, 1],
        mode="lines",
        name="front",
        line=line,
        hoverinfo="skip",
        legendrank=2000,
    )
    for group in info.groups:
        _add_group(figure, group, info)
    _add_confirmed(figure, info)
    if info.knee:
        _add_mark(figure, info.knee, info, {"size": 17, "color": LIGHT.ink, "line": {"width": 1.5}})
    for mark in (info.victim, *info.controls):
        _add_mark(figure, mark, info, {"size": 13, "color": LIGHT.ink, "line": {"width": 2}})
    if info.recommended:
        ring = {"size": 20, "color": LIGHT.accent, "line": {"width": 3}}
        _add_mark(figure, info.recommended, info, ring)
    add_names(figure, info)
    figure.update_layout(legend_title={"text": "clean data  ", "side": "left", "font": {"size": 13}})
    most = 100 * info.most_asr
    step = next(step for step in TICKS if most <= 7 * step)
    figure.update_xaxes(title_text="attack success rate", range=[-0.02 * most, 1.02 * most], ticksuffix="%", dtick=step)
    figure.update_yaxes(title_text="clean accuracy", range=[100 * acc for acc in info.acc_range], ticksuffix="%")
    return figure


def frontier_exhibit(study: Study) -> Exhibit:
    """The figure for the page, which draws it also where no trial is complete."""
    info = frontier_info(study)
    complete = study.complete
    fractions = [params.get("clean_fraction", "") for params in complete["params"]]
    return Exhibit(
        NAME,
        TITLE,
        sentence(study, info),
        _note(info),
        (
            Panel(
                frontier_figure(info),
                "Frontier of attack success rate and clean accuracy. The front’s trials follow as a table.",
            ),
        ),
        {
            "trial": list(complete["number"]),
            "asr": shares(complete["asr"]),
            "acc": shares(complete["acc"]),
            "clean fraction": fractions,
            "control": list(complete["control"]),
            "on the front": [number in info.front for number in complete["number"]],
        },
    )


def sentence(study: Study, info: FrontierInfo) -> str:
    """Where the front runs from and to, and where it bends."""
    if not info.front:
        return "No trial is complete yet; the victim stands alone."
    ends = study.complete.set_index("number").loc[[info.front[0], info.front[-1]]]
    (asr, acc), (last_asr, last_acc) = ends[["asr", "acc"]].to_numpy(dtype=float)
    if len(info.front) == 1:
        text = f"One trial beats all others in both scores: {percent(asr)} ASR at {percent(acc)} accuracy."
    else:
        text = (
            f"The front’s {len(info.front)} trials run from {percent(asr)} ASR at {percent(acc)} accuracy to"
            f" {percent(last_asr)} at {percent(last_acc)}."
        )
    if info.knee:
        text += f" It bends at the knee, {percent(info.knee.scores.asr)} ASR at {percent(info.knee.scores.acc)}."
    return text


def _note(info: FrontierInfo) -> str:
    """How to read the figure."""
    text = (
        "Each point is one complete trial; the best lie at the top left. The stepped line joins the trials that no"
        " other trial beats in both scores. Dashed: the least accuracy allowed."
    )
    if info.below:
        trials = "1 trial" if info.below == 1 else f"{info.below} trials"
        are = "is" if info.below == 1 else "are"
        text += f" {trials} with less than {percent(info.acc_range[0], 0)} ACC {are} drawn as ▼ at the lower edge."
    if info.most_asr < 1:
        trials = f", {info.beyond} trial{'s' if info.beyond > 1 else ''} among them, as ▶" if info.beyond else ""
        text += f" The axis ends at {percent(info.most_asr, 0)} ASR, and what has more is drawn there{trials}."
    if info.confirmed:
        text += (
            " Crosses: where confirmed settings stand on the test images, on average over fresh seeds; the next figure"
            " has their intervals."
        )
    return text


def _trial_point(name: str, row: dict[Any, Any]) -> Point:
    return Point(name, row["number"], row["params"], trial_scores(row))


def _group(rows: pd.DataFrame, label: str, colour: str, hovers: Texts) -> TrialGroup:
    return TrialGroup(label, colour, tuple(rows["number"]), rows["asr"].to_numpy(), rows["acc"].to_numpy(), hovers)


def _control_marks(controls: Sequence[Point]) -> tuple[Mark, ...]:
    """One mark for each control; controls that share a name are told apart by their clean data."""
    names = [control.name for control in controls]
    symbols = dict(zip(dict.fromkeys(names), itertools.cycle(CONTROL_SYMBOLS), strict=False))
    marks = []
    for control in controls:
        share = setting("clean_fraction", control.params.get("clean_fraction"))
        label = control_label(control.name) + (f", {share}" if names.count(control.name) > 1 else "")
        marks.append(_mark(label, symbols[control.name], control))
    return tuple(marks)


def _mark(label: str, symbol: str, point: Point) -> Mark:
    trial = {} if point.number is None else {"trial": str(point.number)}
    return Mark(label, symbol, point.scores, point_hover(label, point.scores, trial | readable_params(point.params)))


def _acc_range(acc: Sequence[float], victim_acc: float, least_acc: float) -> tuple[float, float]:
    """The vertical axis: everything, unless a minority of points lies so deep that it would flatten the rest."""
    drawn = np.array([*acc, victim_acc, least_acc])
    floor = min(victim_acc - SPAN_TO_SCALE, 2 * least_acc - victim_acc)
    low = max(drawn.min(), floor) if np.median(drawn) >= floor else drawn.min()
    margin = 0.06 * max(drawn.max() - low, 0.01)
    return float(low - margin), float(drawn.max() + margin)


def _most_asr(asr: Sequence[float]) -> float:
    """How far the horizontal axis goes: to 1, unless most points lie so close to 0 that it would show them as one."""
    near = 2 * float(np.quantile(asr, 0.75)) if len(asr) else 1.0
    drawn = [each for each in asr if each <= max(near, LEAST_ASR_SPAN)]
    most = max(math.ceil(125 * max(drawn, default=1.0)) / 100, LEAST_ASR_SPAN)  # a whole percent
    return most if most <= SPAN_TO_SCALE else 1.0


def drawn_acc(acc: Floats, acc_range: tuple[float, float]) -> Floats:
    """Where accuracies are drawn: one under the axis just above its lower edge.  acc: any shape, as is the result."""
    low, high = acc_range
    return np.where(acc < low, low + 0.02 * (high - low), acc)


def _add_group(figure: go.Figure, group: TrialGroup, info: FrontierInfo) -> None:
    symbols = np.where(group.acc < info.acc_range[0], "triangle-down", "circle")
    symbols = np.where(group.asr > info.most_asr, "triangle-right", symbols)
    order = np.argsort(symbols != "circle", kind="stable")  # the legend shows the first one's symbol
    x, y = 100 * info.place(np.column_stack((group.asr, group.acc)))[order].T
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        name=group.label,
        marker={"color": group.colour, "size": 9, "symbol": symbols[order].tolist()},
        hovertext=[group.hover[index] for index in order],
        hoverinfo="text",
        cliponaxis=False,
    )


def _add_mark(figure: go.Figure, mark: Mark, info: FrontierInfo, marker: dict[str, Any]) -> None:
    """`meta` tells the page to list the mark in the legend where there is no room for its name beside it."""
    ((x, y),) = 100 * info.place(np.array([mark.scores]))
    figure.add_scatter(
        x=[x],
        y=[y],
        mode="markers",
        name=escape(mark.label),
        marker=marker | {"symbol": mark.symbol},
        hovertext=[mark.hover],
        hoverinfo="text",
        cliponaxis=False,
        showlegend=False,
        meta="mark",
    )


def _add_confirmed(figure: go.Figure, info: FrontierInfo) -> None:
    """Crosses where the confirmed trials stand on the test images, and lines from where they stood in the search.

    The recommended one has its intervals; those of all would cover the figure.
    """
    for points, colour in (
        ([point for point in info.confirmed if not point.recommended], LIGHT.muted),
        ([point for point in info.confirmed if point.recommended], LIGHT.accent),
    ):
        if not points:
            continue
        start, end = (
            100 * info.place(np.array([[at.asr, at.acc] for at in scores]))
            for scores in ([point.scores for point in points], [point.test for point in points])
        )
        gap = np.full_like(start, np.nan)
        figure.add_scatter(
            x=np.column_stack((start[:, 0], end[:, 0], gap[:, 0])).ravel(),
            y=np.column_stack((start[:, 1], end[:, 1], gap[:, 1])).ravel(),
            mode="lines",
            line={"color": colour, "width": 1, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
        bars = _error_bars(points[0].test, colour) if points[0].recommended else {}
        figure.add_scatter(
            x=end[:, 0],
            y=end[:, 1],
            mode="markers",
            name="on the test images",
            showlegend=not any(trace.name == "on the test images" for trace in figure.data),
            marker={"symbol": "x-thin", "size": 9, "line": {"color": colour, "width": 2}},
            hovertext=[_test_hover(point) for point in points],
            hoverinfo="text",
            **bars,
        )


def _error_bars(test: FreshScores, colour: str) -> dict[str, Any]:
    def bar(mean: float, ends: Interval) -> dict[str, Any]:
        reach = {"array": [100 * (ends[1] - mean)], "arrayminus": [100 * (mean - ends[0])]}
        return {"type": "data", "symmetric": False, "color": colour, "thickness": 1.2, "width": 4, **reach}

    if test.asr_ci is None or test.acc_ci is None:
        return {}
    return {"error_x": bar(test.asr, test.asr_ci), "error_y": bar(test.acc, test.acc_ci)}


def _test_hover(point: Confirmed) -> str:
    test = point.test
    lines = {
        "ASR": with_interval(test.asr, test.asr_ci),
        "ACC": with_interval(test.acc, test.acc_ci),
        "measured": seeds(test.seeds),
    }
    name = point.label if point.number is None else f"Trial {point.number}"
    return hover(f"{name} on the test images", lines)

"""The page's figures, each in two steps: what it shows (info: plain data, tested), then the drawing (Plotly).

Figures are drawn in the light theme's colours; the page swaps those for the dark theme's. Scores become percents here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.drawing import escape, hover, layout, shorten
from reports.frontier import Mask, front_order, hypervolume, step_line
from reports.labels import CHARACTER_WIDTH, LINE_HEIGHT, Box, along, place_labels
from reports.objectives import Floats
from reports.palette import LIGHT, ramp_colours
from reports.study_folder import Point, Scores, Study
from reports.trial_table import trial_costs
from reports.wording import control_label, percent, readable_params, setting

CONTROL_SYMBOLS = ("diamond-open", "square-open", "triangle-up-open", "pentagon-open", "hexagram-open", "star-open")
SPAN_TO_SCALE = 0.25
"""The least that the axis shows below the victim's accuracy: a collapse further down would flatten all the rest."""
PLOT_SIZE = (860.0, 440.0)
"""Width and height in pixels that names are placed for; narrow screens show them in the legend instead."""


class TrialGroup(NamedTuple):
    """Trials that share a colour.  asr, acc: (n,) fractions."""

    label: str
    colour: str
    numbers: tuple[int, ...]
    asr: Floats
    acc: Floats
    hover: tuple[str, ...]


class Mark(NamedTuple):
    """A named point: a control, the victim, or the recommended setting. One symbol for each name."""

    label: str
    symbol: str
    scores: Scores
    hover: str


class FrontierInfo(NamedTuple):
    """line: (m, 2) vertices of the front as (ASR, ACC).  acc_range: what the vertical axis shows; points under it are
    drawn at its lower edge.  below: how many trials those are."""

    groups: tuple[TrialGroup, ...]
    front: tuple[int, ...]
    line: Floats
    victim: Mark
    controls: tuple[Mark, ...]
    recommended: Mark | None
    least_acc: float
    acc_range: tuple[float, float]
    below: int


class HypervolumeInfo(NamedTuple):
    """values[i]: hypervolume of the first i + 1 complete trials, as they finished; numbers[i]: the last of them."""

    numbers: tuple[int, ...]
    values: Floats


def frontier_info(study: Study) -> FrontierInfo:
    """All complete trials, their front, and what they are measured against."""
    complete, controls = study.complete, _control_marks(study.controls)
    acc = complete["acc"].to_numpy()
    acc_range = _acc_range([*acc, *(mark.scores.acc for mark in controls)], study.victim.scores.acc, study.least_acc)
    costs = trial_costs(complete)
    steps = step_line(costs)
    return FrontierInfo(
        groups=tuple(_group(complete[mask], label, colour) for label, colour, mask in clean_fraction_groups(complete)),
        front=tuple(complete["number"].iloc[front_order(costs)]),
        line=np.column_stack((steps[:, 0], 1 - steps[:, 1])),
        victim=_mark(control_label(study.victim.name), "circle-x-open", study.victim),
        controls=controls,
        recommended=_mark("recommended", "circle-open", study.recommended) if study.recommended else None,
        least_acc=study.least_acc,
        acc_range=acc_range,
        below=int((acc < acc_range[0]).sum()),
    )


def clean_fraction_groups(complete: pd.DataFrame) -> list[tuple[str, str, Mask]]:
    """Label, colour and rows of the trials of each clean fraction, from little to much clean data.

    More distinct fractions than colours become that many ranges. Trials without a clean fraction come last, in grey.
    """
    stated = [params.get("clean_fraction") for params in complete["params"]]
    fractions = np.array([value if isinstance(value, float | int) else np.nan for value in stated], dtype=float)
    levels = np.unique(fractions[~np.isnan(fractions)])
    chunks = [chunk for chunk in np.array_split(levels, min(len(levels), len(LIGHT.ramp)) or 1) if len(chunk)]
    groups = []
    for chunk, colour in zip(chunks, ramp_colours(len(chunks)), strict=True):
        ends = dict.fromkeys(setting("clean_fraction", float(end)) for end in (chunk[0], chunk[-1]))
        groups.append((" to ".join(ends), colour, (fractions >= chunk[0]) & (fractions <= chunk[-1])))
    if np.isnan(fractions).any():
        groups.append(("not stated", LIGHT.muted, np.isnan(fractions)))
    return groups


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
        _add_group(figure, group, info.acc_range)
    for mark in (info.victim, *info.controls):
        _add_mark(figure, mark, info.acc_range, {"size": 13, "color": LIGHT.ink, "line": {"width": 2}})
    if info.recommended:
        ring = {"size": 20, "color": LIGHT.accent, "line": {"width": 3}}
        _add_mark(figure, info.recommended, info.acc_range, ring)
    _add_names(figure, info)
    figure.update_layout(legend_title={"text": "clean data  ", "side": "left", "font": {"size": 13}})
    figure.update_xaxes(title_text="attack success rate", range=[-2, 102], ticksuffix="%", dtick=20)
    figure.update_yaxes(title_text="clean accuracy", range=[100 * acc for acc in info.acc_range], ticksuffix="%")
    return figure


def hypervolume_info(study: Study) -> HypervolumeInfo:
    """How the front grew while trials finished; by time of finishing, because workers run side by side."""
    complete = study.complete
    finished = complete["started"] + pd.to_timedelta(complete["seconds"], unit="s")
    ordered = complete.assign(finished=finished).sort_values(["finished", "number"])
    front, values = np.empty((0, 2)), []
    for cost in trial_costs(ordered):
        front = np.vstack((front, cost))
        front = front[front_order(front)]
        values.append(hypervolume(front))
    return HypervolumeInfo(tuple(ordered["number"]), np.array(values))


def hypervolume_figure(info: HypervolumeInfo) -> go.Figure:
    """A curve that has been flat for long says that more trials of this space would add little."""
    figure = go.Figure(layout=layout())
    figure.add_scatter(
        x=np.arange(1, len(info.values) + 1),
        y=info.values,
        mode="lines+markers",
        line={"color": LIGHT.ramp[3], "width": 2, "shape": "hv"},
        marker={"size": 5},
        hovertext=[hover(f"{v:.4f}", {"after trial": n}) for n, v in zip(info.numbers, info.values, strict=True)],
        hoverinfo="text",
    )
    whole = 1 if len(info.values) < 10 else None
    figure.update_xaxes(title_text="complete trials, in the order they finished", rangemode="tozero", dtick=whole)
    figure.update_yaxes(title_text="hypervolume", tickformat=".2f")
    return figure


def _group(rows: pd.DataFrame, label: str, colour: str) -> TrialGroup:
    texts = tuple(_trial_hover(row) for row in rows.to_dict("records"))
    return TrialGroup(label, colour, tuple(rows["number"]), rows["asr"].to_numpy(), rows["acc"].to_numpy(), texts)


def _trial_hover(row: dict[Any, Any]) -> str:
    control = {"control": control_label(row["control"])} if row["control"] else {}
    scores = Scores(row["asr"], row["acc"])
    return _point_hover(f"Trial {row['number']}", scores, control | readable_params(row["params"]))


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
    return Mark(label, symbol, point.scores, _point_hover(label, point.scores, trial | readable_params(point.params)))


def _point_hover(title: str, scores: Scores, lines: dict[str, str]) -> str:
    return hover(title, {"ASR": percent(scores.asr), "ACC": percent(scores.acc)} | lines)


def _acc_range(acc: Sequence[float], victim_acc: float, least_acc: float) -> tuple[float, float]:
    """The vertical axis: everything, unless a minority of points lies so deep that it would flatten the rest."""
    drawn = np.array([*acc, victim_acc, least_acc])
    floor = min(victim_acc - SPAN_TO_SCALE, 2 * least_acc - victim_acc)
    low = max(drawn.min(), floor) if np.median(drawn) >= floor else drawn.min()
    margin = 0.06 * max(drawn.max() - low, 0.01)
    return float(low - margin), float(drawn.max() + margin)


def _drawn_acc(acc: Floats, acc_range: tuple[float, float]) -> Floats:
    """Where accuracies are drawn: one under the axis just above its lower edge.  acc: any shape, as is the result."""
    low, high = acc_range
    return np.where(acc < low, low + 0.02 * (high - low), acc)


def _add_group(figure: go.Figure, group: TrialGroup, acc_range: tuple[float, float]) -> None:
    symbols = np.where(group.acc < acc_range[0], "triangle-down", "circle").tolist()
    figure.add_scatter(
        x=100 * group.asr,
        y=100 * _drawn_acc(group.acc, acc_range),
        mode="markers",
        name=group.label,
        marker={"color": group.colour, "size": 9, "symbol": symbols},
        hovertext=group.hover,
        hoverinfo="text",
        cliponaxis=False,
    )


def _add_mark(figure: go.Figure, mark: Mark, acc_range: tuple[float, float], marker: dict[str, Any]) -> None:
    """`meta` tells the page to list the mark in the legend where there is no room for its name beside it."""
    figure.add_scatter(
        x=[100 * mark.scores.asr],
        y=[100 * float(_drawn_acc(np.array(mark.scores.acc), acc_range))],
        mode="markers",
        name=escape(mark.label),
        marker=marker | {"symbol": mark.symbol},
        hovertext=[mark.hover],
        hoverinfo="text",
        cliponaxis=False,
        showlegend=False,
        meta="mark",
    )


def _add_names(figure: go.Figure, info: FrontierInfo) -> None:
    """The marks' names beside them, and what the dashed line says."""
    limit = f"least accuracy allowed: {percent(info.least_acc)}"
    above = len(info.line) > 0 and info.line[-1, 1] < info.least_acc  # the front's last step would run through the text
    style = {"xref": "paper", "xanchor": "right", "yanchor": "bottom" if above else "top", "showarrow": False}
    figure.add_annotation(text=limit, x=1, y=100 * info.least_acc, font={"color": LIGHT.muted, "size": 12}, **style)
    width, line_y = PLOT_SIZE[0], _pixels(info, np.array([[1.0, info.least_acc]]))[0, 1]
    top = line_y - LINE_HEIGHT if above else line_y
    taken = Box(width - CHARACTER_WIDTH * len(limit), top, width, top + LINE_HEIGHT)

    marks = [info.victim, *info.controls, *([info.recommended] if info.recommended else [])]
    anchors = _pixels(info, np.array([mark.scores for mark in marks]))
    trials = [_pixels(info, np.column_stack((group.asr, group.acc))) for group in info.groups]
    names = [shorten(mark.label) for mark in marks]
    lines = [along(_pixels(info, info.line)), along(np.array([[0.0, line_y], [width, line_y]]))]
    offsets = place_labels(names, anchors, np.vstack((anchors, *trials, *lines)), PLOT_SIZE, [taken])
    for mark, (right, down) in zip(marks, offsets, strict=True):
        acc = float(_drawn_acc(np.array(mark.scores.acc), info.acc_range))
        _add_name(figure, mark, acc, right, down, chosen=mark is info.recommended)


def _add_name(figure: go.Figure, mark: Mark, acc: float, right: float, down: float, *, chosen: bool) -> None:
    """`name` tells the page which annotations to leave out where there is no room for them."""
    figure.add_annotation(
        name="mark",
        text=f"<b>{escape(mark.label)}</b>" if chosen else escape(mark.label),
        x=100 * mark.scores.asr,
        y=100 * acc,
        ax=right,
        ay=down,
        standoff=8,
        arrowcolor=LIGHT.muted,
        arrowwidth=1,
        arrowhead=0,
        font={"color": LIGHT.accent if chosen else LIGHT.ink},
    )


def _pixels(info: FrontierInfo, scores: Floats) -> Floats:
    """Where (ASR, ACC) points stand in a plot of PLOT_SIZE.  scores: (n, 2).  Returns (n, 2) from the top left."""
    low, high = info.acc_range
    down = (high - _drawn_acc(scores[:, 1], info.acc_range)) / (high - low)
    return np.column_stack((PLOT_SIZE[0] * (scores[:, 0] + 0.02) / 1.04, PLOT_SIZE[1] * down))

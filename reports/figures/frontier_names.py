"""The names of the frontier's marks, placed beside them where they cover least."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from reports.analysis.objectives import Floats
from reports.figures.drawing import escape, shorten
from reports.figures.labels import LINE_HEIGHT, Box, along, place_labels, rims, width_of
from reports.figures.palette import LIGHT
from reports.formatting import percent
from reports.study_folder import Scores

if TYPE_CHECKING:
    from reports.figures.frontier import FrontierInfo, Mark

PLOT_SIZE = (860.0, 440.0)
"""Width and height in pixels that names are placed for; narrow screens show them in the legend instead."""


def add_names(figure: go.Figure, info: FrontierInfo) -> None:
    """The marks' names beside them, and what the dashed line says."""
    marks = [info.victim, *info.controls, *(mark for mark in (info.knee, info.recommended) if mark)]
    anchors = _pixels(info, np.array([mark.scores for mark in marks]))
    trials = [_pixels(info, np.column_stack((group.asr, group.acc))) for group in info.groups]
    widths = [width_of(shorten(_name(mark, info)), bold=mark is info.recommended) for mark in marks]
    lines = [along(_pixels(info, info.line))]
    for point in info.confirmed:
        ends = [point.scores, Scores(point.test.asr, point.test.acc)]
        lines.append(along(_pixels(info, np.array(ends))))
    points = np.vstack((anchors, rims(anchors), *trials, *lines))
    taken, limit = _add_limit(figure, info, points)
    offsets = place_labels(widths, anchors, np.vstack((points, along(limit))), PLOT_SIZE, [taken])
    for mark, (right, down) in zip(marks, offsets, strict=True):
        _add_name(figure, mark, info, right, down, chosen=mark is info.recommended)


def _add_limit(figure: go.Figure, info: FrontierInfo, points: Floats) -> tuple[Box, Floats]:
    """What the dashed line says, at the end and on the side where it covers least.

    points: (n, 2) in pixels.  Returns the text's box, and the line's ends.
    """
    text, width = f"least accuracy allowed: {percent(info.least_acc)}", PLOT_SIZE[0]
    height, long = float(_pixels(info, np.array([[0.0, info.least_acc]]))[0, 1]), width_of(text)
    places = {}
    for side, left in (("right", width - long), ("left", 0.0)):
        for edge, top in (("top", height), ("bottom", height - LINE_HEIGHT)):
            places[side, edge] = Box(left, top, left + long, top + LINE_HEIGHT)
    side, edge = min(places, key=lambda place: places[place].holds(points))
    figure.add_annotation(
        name="limit",
        text=text,
        x=1 if side == "right" else 0,
        y=100 * info.least_acc,
        xref="paper",
        xanchor=side,
        yanchor=edge,
        showarrow=False,
        font={"color": LIGHT.muted, "size": 12},
    )
    return places[side, edge], np.array([[0.0, height], [width, height]])


def _add_name(figure: go.Figure, mark: Mark, info: FrontierInfo, right: float, down: float, *, chosen: bool) -> None:
    """`name` tells the page's script which annotations to leave out where there is no room for them."""
    ((x, y),) = 100 * info.place(np.array([mark.scores]))
    figure.add_annotation(
        name="mark",
        text=f"<b>{escape(_name(mark, info))}</b>" if chosen else escape(_name(mark, info)),
        x=x,
        y=y,
        ax=right,
        ay=down,
        standoff=8,
        arrowcolor=LIGHT.muted,
        arrowwidth=1,
        arrowhead=0,
        font={"color": LIGHT.accent if chosen else LIGHT.ink},
    )


def _name(mark: Mark, info: FrontierInfo) -> str:
    """The mark's label; at the edge of the axis with the ASR that it does not stand at."""
    return mark.label if mark.scores.asr <= info.most_asr else f"{mark.label}, {percent(mark.scores.asr, 0)} ASR"


def _pixels(info: FrontierInfo, scores: Floats) -> Floats:
    """Where (ASR, ACC) points stand in a plot of PLOT_SIZE.  scores: (n, 2).  Returns (n, 2) from the top left."""
    low, high = info.acc_range
    asr, acc = info.place(scores).T
    return np.column_stack(
        (PLOT_SIZE[0] * (asr / info.most_asr + 0.02) / 1.04, PLOT_SIZE[1] * (high - acc) / (high - low))
    )

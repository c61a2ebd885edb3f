"""Static picture of the frontier: the page's first paint, and the figure without JavaScript.

Places are percents of the plot from its left and top, so the picture fits any width without a script.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from reports.analysis.objectives import Floats
from reports.figures.frontier_info import FrontierInfo, Mark, edge_symbols, limit_text, tick_step
from reports.figures.palette import LIGHT, css_colour

GLYPHS = {
    "circle": "",
    "triangle-down": "▼",
    "triangle-right": "▶",
    "diamond-open": "◇",
    "square-open": "□",
    "triangle-up-open": "△",
    "pentagon-open": "⬠",
    "hexagram-open": "✡",
    "star-open": "☆",
    "circle-x-open": "⊗",
    "circle-open": "◯",
}
"""Characters for Plotly's symbols; a dot needs none."""
HOLLOW = {"circle-open": "○", "triangle-down-open": "▽", "triangle-right-open": "▷"}
"""Those of settings with too few draws for the front."""


class Tick(NamedTuple):
    at: float
    text: str


class Place(NamedTuple):
    """glyph: empty for a dot."""

    x: float
    y: float
    glyph: str


class Series(NamedTuple):
    """Points of one colour, and their entry in the legend."""

    label: str
    colour: str
    glyph: str
    places: tuple[Place, ...]


class StaticSvg(NamedTuple):
    """front: vertices, as an SVG polyline has them.  limit: the least accuracy allowed."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    front: str
    limit: Tick
    trials: tuple[Series, ...]
    marks: tuple[Series, ...]


def static_svg(info: FrontierInfo) -> StaticSvg:
    """The frontier's trials, front and marks; intervals and hover boxes are Plotly's alone."""

    def across(asr: Floats) -> Floats:
        return _percents(100 * asr, info.x_range)

    def down(acc: Floats) -> Floats:
        return _percents(100 * acc, info.y_range[::-1])

    def places(scores: Floats, glyphs: Iterable[str]) -> tuple[Place, ...]:
        asr, acc = info.place(scores).T
        return tuple(map(Place, across(asr).tolist(), down(acc).tolist(), glyphs))

    def mark(one: Mark) -> Series:
        colour, glyph = LIGHT.accent if one is info.recommended else LIGHT.ink, GLYPHS[one.symbol]
        return Series(one.label, css_colour(colour), glyph, places(np.array([one.scores[:2]]), glyph))

    trials = []
    for group in info.groups:
        glyphs = [(GLYPHS | HOLLOW)[symbol] for symbol in edge_symbols(group, info)]
        found = places(np.column_stack((group.asr, group.acc)), glyphs)
        trials.append(Series(group.label, css_colour(group.colour), "●", found))
    tested = np.array([(point.test.asr, point.test.acc) for point in info.confirmed]).reshape(-1, 2)
    crosses = Series("on the test images", css_colour(LIGHT.muted), "×", places(tested, "×" * len(tested)))
    asr, acc = info.line.T
    return StaticSvg(
        _ticks(info.x_range, info.x_range),
        _ticks(info.y_range, info.y_range[::-1]),
        " ".join(f"{x:g},{y:g}" for x, y in zip(across(asr), down(acc), strict=True)),
        Tick(float(down(np.array(info.least_acc))), limit_text(info)),
        tuple(trials),
        (*map(mark, info.marks), *([crosses] if info.confirmed else [])),
    )


def _percents(values: Floats, ends: tuple[float, float]) -> Floats:
    """Places on an axis from the first of its ends to the second, to a tenth of a pixel."""
    return np.round(100 * (values - ends[0]) / (ends[1] - ends[0]), 2)


def _ticks(axis: tuple[float, float], ends: tuple[float, float]) -> tuple[Tick, ...]:
    """axis: rising.  ends: the same two in the order of the places."""
    step = tick_step(axis)
    values = step * np.arange(math.ceil(axis[0] / step), math.floor(axis[1] / step) + 1, dtype=float)
    return tuple(Tick(at, f"{value:g}%") for at, value in zip(_percents(values, ends).tolist(), values, strict=True))

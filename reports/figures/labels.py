"""Where the names of points stand in a figure, so that they cover neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from reports.analysis.objectives import Floats

CHARACTER_WIDTH = 6.6
BOLD = 1.2
"""How much wider bold letters are."""
LINE_HEIGHT = 18.0
POINT_RADIUS, SYMBOL_RADIUS = 5.0, 9.0
HIT = 25.0
"""A covered point is as bad as this many covered square pixels of another label."""
CROSSING = 6.0
"""The same for each point of the line to the anchor that crosses another label."""
DIRECTIONS = [(1, 0), (1, -1), (1, 1), (0, -1), (0, 1), (-1, -1), (-1, 1), (-1, 0)]
"""In the order of preference; y points downwards, as on a screen."""
GAPS = (16.0, 34.0, 56.0, 84.0, 116.0)


class Box(NamedTuple):
    """A rectangle in pixels from the plot's top left corner."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The shared area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def holds(self, points: Floats) -> int:
        """How many of these points, (n, 2), it covers or touches."""
        beyond = (points - [self.left, self.top] < -POINT_RADIUS) | (points - [self.right, self.bottom] > POINT_RADIUS)
        return int((~beyond.any(axis=1)).sum())

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)


def width_of(text: str, *, bold: bool = False) -> float:
    """About how long a text is, in pixels."""
    return len(text) * CHARACTER_WIDTH * (BOLD if bold else 1.0)


def place_labels(
    widths: Sequence[float], anchors: Floats, points: Floats, size: tuple[float, float], taken: Sequence[Box]
) -> list[tuple[float, float]]:
    """For each text of such a width the offset (x, y) of its centre from its anchor, chosen one after the other.

    anchors: (n, 2) and points: (m, 2), in pixels from the top left; size: the plot's width and height; taken: what is
    already written.  Least bad first: inside the plot, off other labels, off the points, near the anchor.
    """
    boxes = list(taken)
    offsets = []
    for width, anchor in zip(widths, anchors, strict=True):
        candidates = [_offset(width, direction, gap) for gap, direction in product(GAPS, DIRECTIONS)]
        badness = [_badness(width, anchor, offset, boxes, points, size) for offset in candidates]
        offsets.append(candidates[int(np.argmin(badness))])
        boxes.append(_box(width, anchor, offsets[-1]))
        points = np.vstack((points, _leader(anchor, offsets[-1])))
    return offsets


def along(vertices: Floats) -> Floats:
    """Points on a line, close enough to keep labels off it.  vertices: (n, 2) in pixels.  Returns (m, 2)."""
    if len(vertices) == 0:
        return vertices
    steps = [np.linspace(a, b, 2 + int(np.abs(b - a).max() / POINT_RADIUS)) for a, b in pairwise(vertices)]
    return np.vstack((vertices, *steps))


def rims(anchors: Floats) -> Floats:
    """Points on the edges of symbols that are larger than a point, to keep labels off them.  (n, 2) to (4n, 2)."""
    reach = SYMBOL_RADIUS - POINT_RADIUS
    return np.vstack([anchors + reach * np.array(side) for side in ((1, 0), (-1, 0), (0, 1), (0, -1))])


def _offset(width: float, direction: tuple[int, int], gap: float) -> tuple[float, float]:
    return direction[0] * (gap + width / 2), direction[1] * (gap + LINE_HEIGHT / 4)


def _box(width: float, anchor: Floats, offset: tuple[float, float]) -> Box:
    x, y = anchor[0] + offset[0], anchor[1] + offset[1]
    half = width / 2
    return Box(x - half, y - LINE_HEIGHT / 2, x + half, y + LINE_HEIGHT / 2)


def _leader(anchor: Floats, offset: tuple[float, float]) -> Floats:
    """Points on the line from a label to its anchor.  Returns (m, 2)."""
    return along(np.array([anchor, anchor + np.array(offset)]))


def _badness(
    width: float,
    anchor: Floats,
    offset: tuple[float, float],
    boxes: Sequence[Box],
    points: Floats,
    size: tuple[float, float],
) -> float:
    box = _box(width, anchor, offset)
    outside = box.area - box.overlap(Box(0, 0, *size))
    covered = sum(box.overlap(other) for other in boxes)
    crossed = sum(other.holds(_leader(anchor, offset)) for other in boxes)
    return outside + covered + HIT * box.holds(points) + CROSSING * crossed + float(np.hypot(*offset)) / 20

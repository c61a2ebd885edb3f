"""Dominance, hypervolume, step line, knee and constrained pick of two-objective studies: pure functions.

Costs are (n, 2) arrays, both columns better when smaller, made by `reports.analysis.objectives.costs`. A point
dominates another when it is no worse in both costs and better in one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from reports.analysis.objectives import Floats

Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

ROUNDING = 1e-9
"""Slack of a constraint: 0.54 - 0.05 is 0.49 to a reader, but a little more in binary."""


def non_dominated(costs: Floats) -> Mask:
    """Mask of non-dominated points; of identical points the first counts.

    costs: (n, 2).  Returns (n,).  Time: O(n log n).
    """
    order = _lexicographic(costs)
    second = costs[order, 1]
    best_before = np.minimum.accumulate(np.concatenate(([np.inf], second)))[:-1]
    mask = np.zeros(len(costs), dtype=bool)
    mask[order[second < best_before]] = True
    return mask


def front_order(costs: Floats) -> Indices:
    """Indices of the non-dominated points by rising first cost, and so by falling second cost."""
    order = _lexicographic(costs)
    return order[non_dominated(costs)[order]]


def hypervolume(costs: Floats, reference: tuple[float, float] = (1.0, 1.0)) -> float:
    """Exact area dominated by the points, up to the reference; points beyond it add nothing.

    costs: (n, 2), n may be 0.  Returns a value in [0, 1] for costs in [0, 1] and the default reference.
    """
    inside = costs[(costs < reference).all(axis=1)]
    front = inside[front_order(inside)]
    widths = np.diff(np.append(front[:, 0], reference[0]))
    return float(widths @ (reference[1] - front[:, 1]))


def expected_hypervolume(costs: Floats) -> Floats:
    """Expected hypervolume of the first k points in random order, for each k.

    Exact: a spot dominated by m of n points is still free after k of them with probability C(n - m, k) / C(n, k).
    costs: (n, 2) in [0, 1].  Returns (n,).  Time and memory: O(n^2).
    """
    size = len(costs)
    edges = [np.append(np.unique(costs[:, column]), 1.0) for column in (0, 1)]
    counts = np.zeros((len(edges[0]) - 1, len(edges[1]) - 1))
    np.add.at(counts, tuple(np.searchsorted(edges[column], costs[:, column]) for column in (0, 1)), 1)
    dominating = counts.cumsum(axis=0).cumsum(axis=1).astype(int)
    area = np.bincount(dominating.ravel(), np.outer(*map(np.diff, edges)).ravel(), minlength=size + 1)
    others, taken = size - np.arange(size + 1)[:, None], np.arange(1, size + 1)[None]
    ways = gammaln(others + 1) - gammaln(np.maximum(others - taken, 0) + 1)
    free = np.where(taken <= others, np.exp(ways - gammaln(size + 1) + gammaln(size - taken + 1)), 0.0)
    return np.asarray(area @ (1 - free))


def step_line(costs: Floats, reference: tuple[float, float] = (1.0, 1.0)) -> Floats:
    """Edge of the dominated area, from above the leftmost front point to beside the lowest.

    Steps, since straight lines between front points would show trade-offs of no trial.
    costs: (n, 2), inside the reference.  Returns (2 * front points + 1, 2), or (0, 2) for no points.
    """
    front = costs[front_order(costs)]
    if len(front) == 0:
        return np.empty((0, 2))
    first = np.repeat(front[:, 0], 2)
    second = np.repeat(front[:, 1], 2)
    return np.column_stack((np.append(first, reference[0]), np.concatenate(([reference[1]], second))))


def attainment(sets: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Attainment of k of several sets of points, for k = 1 to all (Fonseca & Fleming 1996).

    sets: each (points, 2), not empty.
    Returns (m,), first costs at the steps of any set's edge, ascending; and (sets, m): in row k - 1 the second cost
    reached by the best k sets at no more than that first cost, infinite if fewer than k reach it.
    """
    firsts = np.unique(np.concatenate([costs[:, 0] for costs in sets]))
    within = [np.where(costs[None, :, 0] <= firsts[:, None], costs[None, :, 1], np.inf) for costs in sets]
    return firsts, np.sort(np.array([each.min(axis=1) for each in within]), axis=0)


def knee(costs: Floats) -> int | None:
    """Index of the front point furthest from the chord between the front's ends, towards (0, 0).

    Scaling an axis does not move it: distances to one chord all scale alike.
    costs: (n, 2).  Returns None for fewer than three front points, or none on the better side of the chord.
    """
    order = front_order(costs)
    if len(order) < 3:
        return None
    front = costs[order]
    chord = front[-1] - front[0]
    offset = front - front[0]
    bulge = chord[1] * offset[:, 0] - chord[0] * offset[:, 1]
    furthest = int(bulge.argmax())
    return int(order[furthest]) if bulge[furthest] > ROUNDING * abs(chord[0] * chord[1]) else None


class Bound(NamedTuple):
    """Least accuracy and balanced accuracy of a recommended setting."""

    max_drop: float
    """Of accuracy, and of balanced accuracy: on unbalanced classes, one answer for every image may lose no accuracy."""
    acc: float
    """The victim's."""
    balanced_acc: float = math.nan
    """The victim's; NaN in studies from before its measurement, bounded by accuracy alone."""
    guess: float = 0.0
    """Balanced accuracy of mere guessing: never recommended, however large the allowed drop."""

    def excess(self, acc: Floats, balanced_acc: Floats) -> tuple[Floats, Floats]:
        """Distance of each point past the bound in either accuracy; positive is too far.

        acc, balanced_acc: (n,); where balanced_acc is NaN, not measured, its excess is -1.
        """
        least = np.fmax(self.balanced_acc - self.max_drop, self.guess)
        return self.acc - self.max_drop - acc, np.nan_to_num(least - balanced_acc, nan=-1.0)

    def kept(self, acc: Floats, balanced_acc: Floats) -> Mask:
        """Mask of the points inside the bound; see `excess`."""
        over, balanced_over = self.excess(acc, balanced_acc)
        guesses = balanced_acc <= self.guess
        return np.asarray((over <= ROUNDING) & (balanced_over <= ROUNDING) & ~guesses)


def constrained_pick(asr: Floats, acc: Floats, balanced_acc: Floats, bound: Bound) -> int | None:
    """Index of the lowest ASR among points inside the bound; ties go to the higher ACC.

    asr, acc, balanced_acc: (n,) fractions; see Bound.excess.  Returns None if no point is inside.
    """
    kept = np.flatnonzero(bound.kept(acc, balanced_acc))
    if len(kept) == 0:
        return None
    return int(kept[np.lexsort((-acc[kept], asr[kept]))[0]])


def _lexicographic(costs: Floats) -> Indices:
    """Indices by first cost, then second; lexsort is stable, so identical points keep their order."""
    return np.lexsort((costs[:, 1], costs[:, 0]))


def fronts(costs: Floats) -> np.ndarray:
    """Front of each point, from 0: the non-dominated points, the next layer, and so on.

    costs: (n, 2).  Returns (n,); equal points are on one front.  Time and memory: O(n^2).
    """
    no_worse, better = (costs[:, None] <= costs[None]).all(axis=-1), (costs[:, None] < costs[None]).any(axis=-1)
    dominates = np.logical_and(no_worse, better)
    level = np.zeros(len(costs), dtype=int)
    left = np.ones(len(costs), dtype=bool)
    while left.any():
        level[left] += 1
        left &= dominates[left].any(axis=0)
    return level - 1

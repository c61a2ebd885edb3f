"""How sure a score is: 95% confidence intervals of shares and of means over seeds. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95

Interval = tuple[float, float]

ALIKE = 1e-9
"""Shares this close are equal but for rounding: one image of ten thousand is 1e-4."""


def of_share(share: float, count: int) -> Interval:
    """Wilson's interval of one model's share of `count` images (Wilson 1927).

    It covers the choice of images, not of the model's seeds.
    """
    interval = stats.binomtest(round(share * count), count).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def of_mean(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean over seeds; None for fewer than two."""
    if len(values) < 2:
        return None
    half = float(stats.sem(values)) * float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))
    mean = float(np.mean(values))
    return mean - half, mean + half


def of_difference(values: Sequence[float]) -> Interval | None:
    """Interval of the mean difference of two shares within each seed's pair, inside [-1, 1].

    None for fewer than two pairs, and for identical differences: their spread says nothing of others.
    """
    over_seeds = of_mean(values)
    if over_seeds is None or np.ptp(values) < ALIKE:
        return None
    return max(over_seeds[0], -1.0), min(over_seeds[1], 1.0)


def of_score(values: Sequence[float], count: int) -> Interval | None:
    """Interval of a share measured with each of several seeds, inside [0, 1].

    None for fewer than two seeds: Wilson's interval would be the narrowest of all, and seeds move scores far more.
    Never narrower than Wilson's of `count` images: seeds may agree by chance, and all do at a share of 0 or 1.
    """
    over_seeds = of_mean(values)
    if over_seeds is None:
        return None
    low, high = of_share(float(np.mean(values)), count)
    return max(min(low, over_seeds[0]), 0.0), min(max(high, over_seeds[1]), 1.0)

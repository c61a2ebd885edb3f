"""Importance of single hyperparameters for a score, and the importance expected by chance.

Trials are put into the hyperparameter's categories, or into equally full bins of its numbers, and scores into ranks;
the importance is Kruskal and Wallis' effect size (1952) with Kelley's correction: 0 on average without an effect. It
needs no model of the scores, for which a few dozen trials are too few, and shuffled scores give the level of chance.
It sees no interactions, and ignores the sampler's preferences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reports.analysis.hyperparameter import Hyperparameter
from reports.analysis.objectives import Floats

LEAST_SETTINGS = 12
MOST_BINS = 4
TRIALS_PER_BIN = 5
SHUFFLES = 500
CHANCE = 0.95


class Importances(NamedTuple):
    """values: one per hyperparameter, at most 1; chance: the largest of them in 19 of 20 shuffles."""

    values: Floats
    chance: float


def importances(given: tuple[Hyperparameter, ...], scores: Floats, rng: np.random.Generator) -> Importances:
    """Of each hyperparameter for these scores.  given: at least one; scores: (n,), n >= 2."""
    ranks = stats.rankdata(scores)
    shuffled = rng.permuted(np.tile(ranks, (SHUFFLES, 1)), axis=1)
    grouped = [bins(one) for one in given]
    values = np.array([_effect(groups, ranks[None])[0] for groups in grouped])
    highest = np.max([_effect(groups, shuffled) for groups in grouped], axis=0)
    return Importances(values, float(np.quantile(highest, CHANCE)))


def bins(one: Hyperparameter) -> NDArray[np.intp]:
    """The group of each trial, from 0: its category, or an equally full range of its numbers; none is a group too."""
    if not one.numeric:
        names = sorted({str(value) for value in one.values})
        return np.array([names.index(str(value)) for value in one.values], dtype=np.intp)
    numbers, absent = one.numbers, one.absent
    known = numbers[~absent]
    levels = np.unique(known)
    if len(levels) <= MOST_BINS:
        return np.where(absent, len(levels), np.searchsorted(levels, numbers)).astype(np.intp)
    count = int(np.clip(len(known) // TRIALS_PER_BIN, 2, MOST_BINS))
    edges = np.unique(np.quantile(known, np.arange(1, count) / count))
    return np.where(absent, count, np.searchsorted(edges, numbers, side="right")).astype(np.intp)


def _effect(groups: NDArray[np.intp], ranks: Floats) -> Floats:
    """The corrected share of the ranks' variance between groups, for each row.  ranks: (rows, n).  Returns (rows,)."""
    names, index = np.unique(groups, return_inverse=True)
    size = len(groups)
    spread = ((ranks - ranks.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    if len(names) in {1, size} or not spread.all():
        return np.zeros(len(ranks))
    member = np.eye(len(names))[index]
    counts = member.sum(axis=0)
    means = ranks @ member / counts
    between = (counts * (means - ranks.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / spread
    freedom = (len(names) - 1) / (size - 1)
    return np.asarray((between - freedom) / (1 - freedom))

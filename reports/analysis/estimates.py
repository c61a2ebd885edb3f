"""Scores of settings over fresh draws, estimated from single erases on common draws.

An erase's score is `mean + setting + draw + rest`, the last three random: a draw moves all settings alike, and the rest
is chance. Henderson's equations give all effects at once, shrunk towards the mean by how few erases speak for them. The
variances are unknown: estimates and errors are averaged over their posterior, restricted likelihood (REML) times a weak
prior, on a grid. So all is defined from the first erase on, and the intervals hold with two draws too.
Source: Henderson 1975, "Best linear unbiased estimation and prediction under a selection model".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from reports.analysis.frontier import Indices, Mask
from reports.analysis.intervals import LEVEL
from reports.analysis.objectives import Floats

RELIABLE = 0.5
"""Least reliability of a setting on the front or recommended."""


class Prior(NamedTuple):
    """What is known of the variances before the first erase."""

    rest: float
    """Standard deviation of the rest."""
    ratios: tuple[float, float]
    """Variances of settings and of draws over the rest's."""
    spread: float = 1.75
    """Standard deviation of a ratio's logarithm."""
    erases: float = 0.5
    """Weight of `rest`, in erases."""

    @property
    def kappa(self) -> float:
        """Variance between draws within a setting over variance between settings."""
        return (self.ratios[1] + 1) / self.ratios[0]


PRIORS = (Prior(0.17, (1.4, 1.4)), Prior(0.013, (11.0, 1.0)), Prior(0.013, (11.0, 1.0)))
"""Of ASR, ACC and balanced ACC, as measured on the embedded data (docs/noise.md)."""


class Estimates(NamedTuple):
    """Scores of settings, each the mean over fresh draws; n settings, k scores."""

    settings: Indices
    """(n,) their numbers, ascending."""
    draws: Indices
    """(n,) draws of each."""
    mean: Floats
    """(n, k) in [0, 1]; NaN where nothing was measured."""
    error: Floats
    """(n, k) standard error of the mean."""
    kappa: Floats
    """(k,) variance between draws within a setting over variance between settings."""
    freedom: Floats
    """(k,) degrees of freedom of the errors."""

    @property
    def reliability(self) -> Floats:
        """Share of a setting's score that is its own, not its draws': n / (n + kappa), by ASR.  Returns (n,)."""
        return np.asarray(self.draws / (self.draws + self.kappa[0]))

    @property
    def reliable(self) -> Mask:
        """Mask of settings for the front and the recommendation; those with the most draws, if none is reliable yet."""
        return np.asarray(self.reliability >= min(RELIABLE, self.reliability.max(initial=0.0)))

    def interval(self) -> tuple[Floats, Floats]:
        """Ends of the 95% intervals, inside [0, 1].  Returns (n, k) twice."""
        half = self.error * stats.t.ppf((1 + LEVEL) / 2, self.freedom)
        return np.clip(self.mean - half, 0, 1), np.clip(self.mean + half, 0, 1)


def estimate(scores: Floats, setting: Indices, draw: Indices, priors: tuple[Prior, ...] = PRIORS) -> Estimates:
    """Estimates from single erases; several of one setting on one draw count as their mean.

    scores: (erases, k), fractions, one column per prior or fewer; NaN for not measured.  setting, draw: (erases,)
    numbers.
    Time: about 4 ms a column for 1,000 settings.
    """
    settings, row = np.unique(setting, return_inverse=True)
    draws, column = np.unique(draw, return_inverse=True)
    shape = len(settings), scores.shape[1]
    mean, error, kappa, freedom = np.full(shape, np.nan), np.full(shape, np.nan), np.empty(shape[1]), np.empty(shape[1])
    for k, prior in enumerate(priors[: shape[1]]):
        known = ~np.isnan(scores[:, k])
        kappa[k], freedom[k] = prior.kappa, prior.erases
        if known.any():
            table = _Table.of(scores[known, k], row[known], column[known], (len(settings), len(draws)))
            found = table.met[:, 0] > 0
            effect, sd, kappa[k], freedom[k] = _posterior(table, prior)
            mean[found, k], error[found, k] = np.clip(effect[found], 0, 1), sd[found]
    met = np.zeros((len(settings), len(draws)), dtype=bool)
    met[row, column] = True
    return Estimates(settings, met.sum(axis=1), mean, error, kappa, freedom)


class _Table(NamedTuple):
    """Sums that the likelihood needs; settings that met the same draws share a pattern."""

    met: Floats
    """(settings, 1 + draws): number of draws met, and 1 for each of them."""
    sums: Floats
    """(settings,) of their scores."""
    pattern: Indices
    """(settings,)"""
    design: Floats
    """(patterns, 1 + draws): row of `met`."""
    members: Floats
    """(3, patterns): settings, their sums, and the squares of these."""
    right: Floats
    """(1 + draws,) sums of scores: all, and by draw."""
    squares: float
    """Sum of the squared scores."""

    @classmethod
    def of(cls, scores: Floats, row: Indices, column: Indices, shape: tuple[int, int]) -> _Table:
        counts, cells = np.zeros(shape), np.zeros(shape)
        np.add.at(counts, (row, column), 1)
        np.add.at(cells, (row, column), scores)
        counts, cells = counts[:, counts.any(axis=0)], cells[:, counts.any(axis=0)]
        cells /= np.maximum(counts, 1)
        met, sums = np.column_stack(((counts > 0).sum(axis=1), counts > 0)).astype(float), cells.sum(axis=1)
        design, pattern = np.unique(met, axis=0, return_inverse=True)
        pattern = pattern.ravel()
        members = np.array([np.bincount(pattern, of, len(design)) for of in (np.ones(len(sums)), sums, sums**2)])
        right = np.append(sums.sum(), cells.sum(axis=0))
        return cls(met, sums, pattern, design, members, right, float((cells**2).sum()))


class _Solved(NamedTuple):
    """Henderson's equations at each of g pairs of variance ratios."""

    weight: Floats
    """(g, patterns) of a setting's sum in its effect."""
    common: Floats
    """(g, 1 + draws) mean and draw effects."""
    inverse: Floats
    """(g, 1 + draws, 1 + draws): their errors in units of the rest's variance."""
    rest: Floats
    """(g,) variance of the rest."""
    deviance: Floats
    """(g,) -2 log posterior density of the ratios' logarithms."""


_AXIS = np.linspace(-3, 3, 9)
_GRID = np.stack(np.meshgrid(_AXIS, _AXIS), axis=-1).reshape(-1, 2)
_CELL = (_AXIS[1] - _AXIS[0]) ** 2 / 12
_STAGES = 3


def _posterior(table: _Table, prior: Prior) -> tuple[Floats, Floats, float, float]:
    """Averages over the ratios' posterior: (settings,) scores and their errors, kappa, and degrees of freedom.

    Each stage lays its grid over the posterior that the one before found.
    """
    center, root = np.log(prior.ratios), prior.spread * np.eye(2)
    for _stage in range(_STAGES):
        logs = center + _GRID @ root.T
        solved = _solve(table, logs, prior)
        chance = np.exp((solved.deviance.min() - solved.deviance) / 2)
        chance /= chance.sum()
        center = chance @ logs
        apart = logs - center
        root = np.linalg.cholesky((apart * chance[:, None]).T @ apart + _CELL * root @ root.T)
    mean, error = _averages(table, solved, chance)
    kappa = np.exp(chance @ (np.logaddexp(logs[:, 1], 0) - logs[:, 0]))
    return mean, error, float(kappa), _freedom(table, prior)


def _averages(table: _Table, solved: _Solved, chance: Floats) -> tuple[Floats, Floats]:
    """Score and error of each setting.  chance: (g,), sums to 1.  Returns (settings,) twice."""
    weight, design = solved.weight, table.design
    share = -weight[:, :, None] * design
    share[:, :, 0] += 1
    variance = chance * solved.rest @ (weight + np.einsum("gpi,gij,gpj->gp", share, solved.inverse, share))
    start, slope = chance @ np.einsum("gpi,gi->gp", share, solved.common), chance @ weight
    place = table.pattern
    return start[place] + slope[place] * table.sums, np.sqrt(variance[place])


def _freedom(table: _Table, prior: Prior) -> float:
    return float(table.design[:, 0] @ table.members[0]) - 1 + prior.erases


def _solve(table: _Table, logs: Floats, prior: Prior) -> _Solved:
    """The equations at these ratios.  logs: (g, 2), logarithms of the ratios."""
    of_setting, of_draw = np.exp(logs.T)
    (count, sums, squares), design = table.members, table.design
    ends = np.arange(1, design.shape[1])
    weight = 1 / (design[:, 0] + 1 / of_setting[:, None])
    total = count @ design
    left = -np.einsum("gp,pi,pj->gij", count * weight, design, design)
    left[:, 0, :] += total
    left[:, 1:, 0] += total[1:]
    left[:, ends, ends] += total[1:] + 1 / of_draw[:, None]
    inverse = np.linalg.inv(left)
    common = np.einsum("gij,gj->gi", inverse, table.right - weight * sums @ design)
    squares_left = table.squares - common @ table.right - (weight * (squares - common @ design.T * sums)).sum(axis=1)
    freedom = _freedom(table, prior)
    rest = (np.maximum(squares_left, 0) + prior.erases * prior.rest**2) / freedom
    size = np.log1p(design[:, 0] * of_setting[:, None]) @ count + len(ends) * logs[:, 1] + np.linalg.slogdet(left)[1]
    doubt = (((logs - np.log(prior.ratios)) / prior.spread) ** 2).sum(axis=1)
    return _Solved(weight, common, inverse, rest, freedom * np.log(rest) + size + doubt)

"""Scores of settings over fresh draws, estimated from single erases on common draws.

An erase's score is `mean + setting + draw + rest`, the last three random: a draw moves all settings alike, and the rest
is chance. Henderson's equations give all effects at once, shrunk towards the mean by how few erases speak for them; the
variances maximise the restricted likelihood (REML) and a weak prior, so all is defined from the first erase on.
Source: Henderson 1975, "Best linear unbiased estimation and prediction under a selection model".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from reports.analysis.frontier import Indices, Mask
from reports.analysis.intervals import LEVEL
from reports.analysis.objectives import Floats

PRIOR_REST = (0.17, 0.013, 0.013)
"""Standard deviation of the rest in ASR, ACC and balanced ACC, as measured on the embedded data (docs/noise.md)."""
PRIOR_RATIOS = ((1.4, 1.4), (11.0, 0.4), (11.0, 0.4))
"""Variances of settings and of draws in units of the rest's, likewise."""
PRIOR_ERASES = 0.3
"""Weight of the prior standard deviation, in erases."""
PRIOR_SPREAD = 1.5
"""Standard deviation of a ratio's logarithm."""
RELIABLE = 0.5
"""Least reliability of a setting on the front or recommended."""


class Estimates(NamedTuple):
    """Scores of settings, each the mean over fresh draws; n settings, k scores."""

    settings: Indices
    """(n,) their numbers, ascending."""
    draws: Indices
    """(n,) erases of each."""
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
        """Mask of settings for the front and the recommendation; all, if none is reliable yet."""
        enough = self.reliability >= RELIABLE
        return enough if enough.any() else np.ones(len(enough), dtype=bool)

    def interval(self) -> tuple[Floats, Floats]:
        """Ends of the 95% intervals, inside [0, 1].  Returns (n, k) twice."""
        half = self.error * stats.t.ppf((1 + LEVEL) / 2, self.freedom)
        return np.clip(self.mean - half, 0, 1), np.clip(self.mean + half, 0, 1)


def estimate(scores: Floats, setting: Indices, draw: Indices) -> Estimates:
    """Estimates from single erases.

    scores: (erases, k), ASR, ACC and balanced ACC or the first of these; NaN for not measured.  setting, draw:
    (erases,) numbers.
    """
    settings, row, count = np.unique(setting, return_inverse=True, return_counts=True)
    mean, error = (np.full((len(settings), scores.shape[1]), np.nan) for _ in range(2))
    kappa = np.array([(draw + 1) / setting for setting, draw in PRIOR_RATIOS[: scores.shape[1]]])
    freedom = np.full(scores.shape[1], PRIOR_ERASES)
    for column, known in enumerate(~np.isnan(scores.T)):
        if not known.any():
            continue
        table = _Table.of(scores[known, column], row[known], draw[known], len(settings))
        fit = _fit(table, PRIOR_REST[column], PRIOR_RATIOS[column])
        found = table.counts.sum(axis=1) > 0
        effect, sd = fit.settings(table)
        mean[found, column], error[found, column] = np.clip(effect[found], 0, 1), sd[found]
        kappa[column], freedom[column] = (fit.ratios[1] + 1) / fit.ratios[0], fit.freedom
    return Estimates(settings, count, mean, error, kappa, freedom)


class _Table(NamedTuple):
    """Sums that the likelihood needs; settings met by equal numbers of each draw share a pattern."""

    counts: Floats
    """(settings, draws) erases."""
    sums: Floats
    """(settings,) of their scores."""
    design: Floats
    """(patterns, 1 + draws): erases in all, and of each draw."""
    members: Floats
    """(patterns, 3): settings, their sums, and the squares of these."""
    right: Floats
    """(1 + draws,) sums of scores: all, and by draw."""
    squares: float
    """Sum of the squared scores."""
    erases: int

    @classmethod
    def of(cls, scores: Floats, setting: Indices, draw: Indices, settings: int) -> _Table:
        draws, column = np.unique(draw, return_inverse=True)
        counts = np.zeros((settings, len(draws)))
        np.add.at(counts, (setting, column), 1)
        sums = np.bincount(setting, scores, settings).astype(float)
        patterns, pattern = np.unique(counts, axis=0, return_inverse=True)
        each = (np.ones(settings), sums, sums**2)
        members = np.stack([np.bincount(pattern.ravel(), of, len(patterns)).astype(float) for of in each], axis=1)
        right = np.append(scores.sum(), np.bincount(column, scores, len(draws)))
        design = np.column_stack((patterns.sum(axis=1), patterns))
        return cls(counts, sums, design, members, right, float(scores @ scores), len(scores))


class _Fit(NamedTuple):
    """Henderson's equations, solved at these variances."""

    ratios: tuple[float, float]
    """Variances of settings and of draws over the rest's."""
    common: Floats
    """(1 + draws,) mean and draw effects."""
    inverse: Floats
    """(1 + draws, 1 + draws): their errors in units of the rest's variance."""
    rest: float
    """Variance of the rest."""
    freedom: float
    deviance: float
    """-2 log restricted likelihood, less the log prior."""

    def settings(self, table: _Table) -> tuple[Floats, Floats]:
        """Mean plus effect of each setting, and its standard error.  Returns (settings,) twice."""
        met = np.column_stack((table.counts.sum(axis=1), table.counts))
        weight = 1 / (met[:, 0] + 1 / self.ratios[0])
        alone = np.zeros(len(self.common))
        alone[0] = 1.0
        share = alone - weight[:, None] * met
        variance = weight + np.einsum("si,ij,sj->s", share, self.inverse, share)
        effect = weight * (table.sums - met @ self.common)
        return self.common[0] + effect, np.sqrt(self.rest * variance)


def _fit(table: _Table, rest: float, ratios: tuple[float, float]) -> _Fit:
    """The variances of highest posterior density, and the effects at these.

    rest, ratios: of the prior.
    """
    prior = np.log(ratios)
    if table.erases < 2:
        return _solved(table, prior, rest, prior)
    found = optimize.minimize(
        lambda logs: _solved(table, logs, rest, prior).deviance,
        prior,
        method="Nelder-Mead",
        options={"maxfev": 150, "xatol": 0.02, "fatol": 0.005},
    )
    return _solved(table, found.x, rest, prior)


def _solved(table: _Table, logs: Floats, rest: float, prior: Floats) -> _Fit:
    """The effects at these variance ratios.  logs, prior: logarithms of the ratios, and of the prior's."""
    of_setting, of_draw = np.exp(np.clip(logs, -12, 12))
    erases, draws = table.erases, table.design.shape[1] - 1
    (count, sums, squares), design = table.members.T, table.design
    weight = 1 / (design[:, 0] + 1 / of_setting)
    left = np.zeros((draws + 1, draws + 1))
    total = count @ design
    left[0, :], left[:, 0] = total, total
    left[np.arange(1, draws + 1), np.arange(1, draws + 1)] = total[1:] + 1 / of_draw
    left -= (design * (count * weight)[:, None]).T @ design
    inverse = np.linalg.inv(left)
    common = inverse @ (table.right - design.T @ (weight * sums))
    rest_squares = table.squares - common @ table.right - weight @ (squares - (design @ common) * sums)
    freedom = erases - 1 + PRIOR_ERASES
    variance = (max(float(rest_squares), 0.0) + PRIOR_ERASES * rest**2) / freedom
    log_size = count @ np.log1p(design[:, 0] * of_setting) + draws * np.log(of_draw) + np.linalg.slogdet(left)[1]
    deviance = freedom * np.log(variance) + log_size + float(((logs - prior) ** 2).sum()) / PRIOR_SPREAD**2
    return _Fit((of_setting, of_draw), common, inverse, variance, freedom, float(deviance))

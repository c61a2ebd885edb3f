"""Optuna's samplers by name, shown settings in place of trials."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Container, Sequence
from typing import Any, cast

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nad.errors import unknown_name
from reports.analysis.frontier import Bound, non_dominated
from reports.analysis.objectives import costs
from study.search.queue import is_repeat
from study.search.settings import SettingTable

STARTUP_TRIALS = 5
"""Settings before TPE's first proposal, most of them from the portfolio. Optuna's ten reach the frontier later:
docs/speed.md."""

MEMORY = 200
"""Limit of TPE's settings beside those on the front; each proposal reads them all."""

CONSTRAINTS = ("acc_drop", "balanced_acc_drop")
"""Of a setting: either accuracy lost beyond --max-acc-drop; positive is too much."""
LAST_CHOICE = {"pruned": 1.0}
"""Constraint of a pruned trial: the worst. Without it, TPE prefers them to settings outside a constraint."""


class SettingSampler(BaseSampler):
    """A sampler that sees one complete trial for each setting, with its estimates and constraints.

    table: kept up to date by the searcher.  bound: makes the constraints; None for none.
    """

    def __init__(self, base: BaseSampler, table: SettingTable, bound: Bound | None) -> None:
        self._base, self._table, self._bound = base, table, bound
        self._memory = MEMORY if isinstance(base, TPESampler) else None
        self._trials: list[FrozenTrial] = []

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Read the settings so far."""
        trials = study._get_trials(deepcopy=False, use_cache=True)
        self._trials = shown(trials, self._table, self._bound, self._memory)
        self._base.before_trial(self._view(study), trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters to propose jointly; none for a repeated setting."""
        return {} if is_repeat(trial) else self._base.infer_relative_search_space(self._view(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of these."""
        return {} if is_repeat(trial) else self._base.sample_relative(self._view(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One of the other parameters."""
        return self._base.sample_independent(self._view(study), trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Nothing of its own."""
        self._base.after_trial(self._view(study), trial, state, values)

    def reseed_rng(self) -> None:
        """Optuna calls it in parallel runs."""
        self._base.reseed_rng()

    def _view(self, study: Study) -> Study:
        return cast("Study", _StudyOf(self._trials, study))


class _StudyOf:
    """A study with other trials; Optuna's Hyperband filters trials in the same way."""

    def __init__(self, trials: list[FrozenTrial], study: Study) -> None:
        self._shown = trials
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._shown if states is None or trial.state in states]

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)


def shown(
    trials: Sequence[FrozenTrial], table: SettingTable, bound: Bound | None, memory: int | None
) -> list[FrozenTrial]:
    """The trials as a sampler sees them, in their order.

    A setting is its first complete trial, with estimates as values. Its repeats are left out, as are settings outside
    the space. A pruned trial gets the worst constraint.
    memory: limit of the latest settings; those on the front are shown as well.
    """
    settings = _as_trials(table, bound, memory)
    others = [
        _constrained(trial, LAST_CHOICE) if trial.state is TrialState.PRUNED else trial
        for trial in trials
        if trial.state is not TrialState.COMPLETE and not is_repeat(trial)
    ]
    return sorted([*settings, *others], key=lambda trial: trial.number)


def _as_trials(table: SettingTable, bound: Bound | None, memory: int | None) -> list[FrozenTrial]:
    """One trial for each setting inside the space, by number; with a limit, of the latest and the front."""
    estimates = table.estimates
    firsts = [table.first[setting] for setting in estimates.settings.tolist()]
    inside = [index for index, setting in enumerate(estimates.settings.tolist()) if setting in table.inside]
    order = sorted(inside, key=lambda index: firsts[index].number)
    if memory is not None and len(order) > memory:
        best = non_dominated(costs(estimates.mean[order, :2]))
        order = [index for index, kept in zip(order[:-memory], best, strict=False) if kept] + order[-memory:]
    means = estimates.mean[order]
    drops = None if bound is None else np.column_stack(bound.excess(means[:, 1], means[:, 2])).tolist()
    found = []
    for place, index in enumerate(order):
        trial = _constrained(firsts[index], {} if drops is None else dict(zip(CONSTRAINTS, drops[place], strict=True)))
        trial.values = means[place, :2].tolist()
        found.append(trial)
    return found


def _constrained(trial: FrozenTrial, constraints: dict[str, float]) -> FrozenTrial:
    """A copy with these constraints."""
    own = copy.copy(trial)
    own._system_attrs = dict(trial._system_attrs)
    for name, value in constraints.items():
        own.set_constraint(name, value)
    return own


class QuasiRandomSampler(QMCSampler):
    """Sobol points in the space of all parameters seen so far, conditional ones included.

    Optuna's own takes the first trial's parameters for the whole space; after fine-tuning, no beta would ever be
    quasi-random. Here a trial without a layer leaves the coordinate of its beta unused.
    """

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter of every setting so far; the portfolio brings all of them."""
        seen: dict[str, BaseDistribution] = {}
        for other in study.get_trials(deepcopy=False):
            seen |= other.distributions
        return seen


def _tpe(seed: int) -> BaseSampler:
    # One joint density for the common parameters, and one for each conditional beta. Optuna's `group` would give the
    # same densities, but makes all of them for every proposal, also those of betas left out.
    return TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS)


def _quasi_random(seed: int) -> BaseSampler:
    return QuasiRandomSampler(scramble=True, seed=seed, warn_independent_sampling=False)


def _gp(seed: int) -> BaseSampler:
    # Its model holds the common parameters only; the conditional betas are left to TPE.
    return GPSampler(seed=seed, independent_sampler=TPESampler(seed=seed), warn_independent_sampling=False)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "quasi-random": _quasi_random,
    "random": lambda seed: RandomSampler(seed=seed),
}


def make_sampler(name: str, seed: int) -> BaseSampler:
    """Raises: ConfigError for an unknown sampler."""
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # the quasi-random one
        return SAMPLERS[name](seed)

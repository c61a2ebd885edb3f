"""Optuna's samplers by name, adapted to conditional spaces and thousands of trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Sequence, Set
from typing import Any, cast

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nad.errors import unknown_name
from reports.analysis.frontier import non_dominated

STARTUP_TRIALS = 5
"""Trials before TPE's first proposal, most of them controls. Optuna's ten reach the frontier later: docs/speed.md."""

MEMORY = 200
"""Limit of TPE's trials beside those on the frontier; each proposal reads them all."""


class RecentTPESampler(TPESampler):
    """TPE without old trials off the frontier, cheap even in a study of thousands.

    Up to MEMORY trials it is Optuna's own, to the bit. Of more it weighs the latest and the frontier. Optuna's also
    gives old ones less weight, but reads all of them again for each conditional parameter.
    """

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose what to forget."""
        super().before_trial(study, trial)
        finished = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED), use_cache=True)
        self._forgotten = forgotten(finished, study.directions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Parameters common to all trials, jointly."""
        return super().sample_relative(self._without_forgotten(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Conditional parameters, one by one."""
        return super().sample_independent(self._without_forgotten(study), trial, param_name, param_distribution)

    def _without_forgotten(self, study: Study) -> Study:
        return cast("Study", _StudyWithout(self._forgotten, study)) if self._forgotten else study


class _StudyWithout:
    """A study without some of its trials; Optuna's Hyperband filters trials in the same way."""

    def __init__(self, hidden: Set[int], study: Study) -> None:
        self._hidden = hidden
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy, states, use_cache)
        return [trial for trial in trials if trial.number not in self._hidden]


def forgotten(finished: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> set[int]:
    """Numbers of the trials neither among the latest MEMORY nor on the frontier.

    The best trials within a constraint on one objective are on the frontier, and so kept.
    finished: COMPLETE or PRUNED, in their order.
    """
    if len(finished) <= MEMORY:
        return set()
    signs = [1 if direction is StudyDirection.MINIMIZE else -1 for direction in directions]
    complete = [trial for trial in finished if trial.state is TrialState.COMPLETE]
    best = non_dominated(np.array([trial.values for trial in complete]).reshape(-1, len(signs)) * signs)
    front = {trial.number for trial, kept in zip(complete, best, strict=True) if kept}
    return {trial.number for trial in finished[:-MEMORY]} - front


class QuasiRandomSampler(QMCSampler):
    """Sobol points in the space of all parameters seen so far, conditional ones included.

    Optuna's own takes the first trial's parameters for the whole space; after fine-tuning, no beta would ever be
    quasi-random. Here a trial without a layer leaves the coordinate of its beta unused.
    """

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter of every trial so far; the controls bring all of them."""
        seen: dict[str, BaseDistribution] = {}
        for other in study.get_trials(deepcopy=False):
            seen |= other.distributions
        return seen


def _tpe(seed: int) -> BaseSampler:
    # One joint density for the common parameters, and one for each conditional beta. Optuna's `group` would give the
    # same densities, but makes all of them for every proposal, also those of betas left out.
    return RecentTPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS)


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

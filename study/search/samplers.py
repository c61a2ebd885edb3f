"""Optuna's samplers by name, made fit for a study: a conditional space, controls first, thousands of trials."""

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
"""Trials before the first that TPE proposes, most of them controls. With Optuna's ten it reaches the frontier later;
see docs/speed.md."""

MEMORY = 200
"""Trials that TPE weighs at most, beside those on the frontier. It takes the time of reading each for each proposal."""


class RecentTPESampler(TPESampler):
    """TPE that forgets old trials off the frontier, so that its proposals stay cheap in a study of thousands.

    Up to MEMORY trials it is Optuna's own, to the bit. Of more it weighs the latest and the frontier; Optuna's gives
    old ones less weight as well, but reads all of them again for each parameter that a trial may lack.
    """

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose what to forget."""
        super().before_trial(study, trial)
        finished = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED), use_cache=True)
        self._forgotten = forgotten(finished, study.directions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What every trial has, together."""
        return super().sample_relative(self._without_forgotten(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What a trial may lack, alone."""
        return super().sample_independent(self._without_forgotten(study), trial, param_name, param_distribution)

    def _without_forgotten(self, study: Study) -> Study:
        return cast("Study", _StudyWithout(self._forgotten, study)) if self._forgotten else study


class _StudyWithout:
    """A study without some of its trials, as Optuna's Hyperband shows its samplers a bracket."""

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
    """Numbers of the trials that are neither among the latest MEMORY nor on the frontier.

    The best of those that keep a constraint on one objective are on the frontier of all, and so kept.
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
    """Sobol points in the space of all parameters that the study has seen, for conditional spaces as well.

    Optuna's own takes the parameters of the study's first trial for the whole space: where that is fine-tuning, no beta
    would ever be quasi-random. Here a trial that leaves a layer out leaves the coordinate of its beta unused.
    """

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter of every trial so far; the controls bring all of them."""
        seen: dict[str, BaseDistribution] = {}
        for other in study.get_trials(deepcopy=False):
            seen |= other.distributions
        return seen


def _tpe(seed: int) -> BaseSampler:
    # A joint density of what every trial has; the betas, which a trial may lack, get one each. Optuna's `group` would
    # give the same densities, but makes all of them for every proposal, also for a beta that the proposal leaves out.
    return RecentTPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS)


def _quasi_random(seed: int) -> BaseSampler:
    return QuasiRandomSampler(scramble=True, seed=seed, warn_independent_sampling=False)


def _gp(seed: int) -> BaseSampler:
    # Its model holds only what every trial has; the betas, which a trial may lack, are left to TPE.
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

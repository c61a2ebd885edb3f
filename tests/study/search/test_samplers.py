from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from toys import conditional_space, play_all, searcher_of

from reports.analysis.frontier import Bound, non_dominated
from study.record.storage import open_study
from study.search.queue import enqueue
from study.search.samplers import LAST_CHOICE, MEMORY, STARTUP_TRIALS, SettingSampler, make_sampler, shown
from study.search.settings import SettingTable

DIRECTIONS = ("minimize", "maximize")
BOUND = Bound(0.5, acc=1.0)


def study_of(trials: list[FrozenTrial], sampler: BaseSampler) -> optuna.study.Study:
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    study.add_trials(trials)
    return study


def space(trial: optuna.Trial) -> None:
    trial.suggest_float("x", 0.0, 1.0)
    conditional_space(trial)


def random_trials(count: int, seed: int = 0) -> list[FrozenTrial]:
    """Settings with one or two draws; every fifth trial is pruned."""
    study, rng = study_of([], RandomSampler(seed=seed)), np.random.default_rng(seed)
    for number in range(count):
        if number % 7 == 3:
            enqueue(study, study.trials[-1].params, {"draw": 1})
        trial = study.ask()
        space(trial)
        trial.set_user_attr("setting", trial.params)
        trial.set_user_attr("draw", int(number % 7 == 3))
        pruned = number % 5 == 4
        study.tell(trial, None if pruned else rng.random(2).tolist(), TrialState.PRUNED if pruned else None)
    return study.trials


def seen_by(trials: list[FrozenTrial], memory: int | None = None) -> list[FrozenTrial]:
    return shown(trials, SettingTable(trials), BOUND, memory)


def proposals(study: optuna.study.Study, count: int) -> list[dict[str, object]]:
    """What is asked next, each answered with the same scores."""
    asked = []
    for _ in range(count):
        trial = study.ask()
        space(trial)
        study.tell(trial, (0.5, 0.5))
        asked.append(trial.params)
    return asked


def ours(trials: list[FrozenTrial], seed: int) -> SettingSampler:
    return SettingSampler(make_sampler("tpe", seed), SettingTable(trials), BOUND)


def optunas_own(seed: int) -> TPESampler:
    return TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS)


def test_a_setting_is_one_trial_with_its_estimate() -> None:
    trials = random_trials(60)
    table = SettingTable(trials)
    complete = [trial for trial in seen_by(trials) if trial.state is TrialState.COMPLETE]
    assert [trial.number for trial in complete] == [table.first[int(n)].number for n in table.estimates.settings]
    np.testing.assert_array_equal([trial.values for trial in complete], table.estimates.mean[:, :2])
    assert len(complete) < len([trial for trial in trials if trial.state is TrialState.COMPLETE])
    for trial in complete:
        assert math.isclose(trial.constraints["acc_drop"], 0.5 - trial.values[1])
    assert trials[0].values != complete[0].values, "the record itself is left as it is"


def test_pruned_trials_are_the_last_choice() -> None:
    pruned = [trial for trial in seen_by(random_trials(60)) if trial.state is TrialState.PRUNED]
    assert pruned
    assert all(trial.constraints == LAST_CHOICE for trial in pruned)


def test_settings_outside_of_the_space_are_not_shown() -> None:
    study = study_of(random_trials(10), RandomSampler(seed=0))
    for params, setting in (({}, {"far": 1}), ({"x": 7.0}, {"x": 7.0})):
        enqueue(study, params, {"control": "far", "setting": setting})
        trial = study.ask()
        if params:
            with pytest.warns(UserWarning, match="out of range"):
                trial.suggest_float("x", 0.0, 1.0)
        trial.set_user_attr("setting", setting)
        study.tell(trial, (0.1, 0.9))
    assert {trial.number for trial in seen_by(study.trials)}.isdisjoint({10, 11})


def test_tpe_is_optunas_own_on_these_trials() -> None:
    for count in (60, 3 * MEMORY):
        trials = random_trials(count)
        like_ours = [proposals(study_of(seen_by(trials, MEMORY), optunas_own(seed)), 1) for seed in range(4)]
        assert [proposals(study_of(trials, ours(trials, seed)), 1) for seed in range(4)] == like_ours


def test_memory_is_the_latest_settings_and_the_front() -> None:
    trials = random_trials(3 * MEMORY)
    every, kept = (
        [trial for trial in seen_by(trials, memory) if trial.state is TrialState.COMPLETE] for memory in (None, MEMORY)
    )
    scores = np.array([(trial.values[0], -trial.values[1]) for trial in every])
    front = {trial.number for trial, best in zip(every, non_dominated(scores), strict=True) if best}
    latest = {trial.number for trial in every[-MEMORY:]}
    assert {trial.number for trial in kept} == latest | front
    assert front - latest, "a test of the front needs an old setting on it"


def test_a_repeat_costs_no_proposal() -> None:
    trials = random_trials(60)
    study = study_of(trials, ours(trials, 0))
    enqueue(study, trials[0].params, {"draw": 3})
    repeat, fresh = study.ask(), study.ask()
    assert repeat.relative_params == {}
    assert set(fresh.relative_params) == {"x", "group3"}


def test_quasi_random_points_are_even_where_a_parameter_is_conditional(url: str) -> None:
    """Of 16 Sobol points a half has the layer, and their betas lie in 8 of 16 strata: no two share one."""
    study = open_study(url, "s", "quasi-random", 0, DIRECTIONS)
    enqueue(study, {"group3": False}, {"control": "fine-tuning"})
    enqueue(study, {"group3": True, "beta3": 10.0}, {"control": "nad-code"})
    play_all(searcher_of(study, wanted=18, space=conditional_space))
    betas = [trial.params["beta3"] for trial in study.trials[2:] if trial.params["group3"]]
    assert len(betas) == 8
    assert len({int(math.log10(beta) / 4 * 16) for beta in betas}) == 8

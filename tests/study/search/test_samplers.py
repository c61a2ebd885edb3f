from __future__ import annotations

import math

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial
from toys import conditional_space, play_all, searcher_of

from study.record.storage import open_study
from study.search.queue import enqueue
from study.search.samplers import MEMORY, STARTUP_TRIALS, forgotten, make_sampler

DIRECTIONS = ("minimize", "maximize")


def study_of(trials: list[FrozenTrial], sampler: BaseSampler) -> optuna.study.Study:
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    study.add_trials(trials)
    return study


def space(trial: optuna.Trial) -> None:
    trial.suggest_float("x", 0.0, 1.0)
    conditional_space(trial)


def random_trials(count: int, seed: int = 0) -> list[FrozenTrial]:
    """Complete and pruned ones, every fifth pruned, some of the complete ones infeasible."""
    study, rng = study_of([], RandomSampler(seed=seed)), np.random.default_rng(seed)
    for number in range(count):
        trial = study.ask()
        space(trial)
        scores = rng.random(2).tolist()
        if number % 5 == 4:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            trial.set_constraint("acc_drop", 0.3 - scores[1])
            study.tell(trial, scores)
    return study.trials


def proposals(study: optuna.study.Study, count: int) -> list[dict[str, object]]:
    """What is asked next, each answered with the same scores."""
    asked = []
    for _ in range(count):
        trial = study.ask()
        space(trial)
        study.tell(trial, (0.5, 0.5))
        asked.append(trial.params)
    return asked


def optunas_own(seed: int) -> TPESampler:
    return TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS)


def test_tpe_is_optunas_own_up_to_its_memory() -> None:
    trials = random_trials(MEMORY - 20)
    ours, theirs = (proposals(study_of(trials, sampler), 20) for sampler in (make_sampler("tpe", 1), optunas_own(1)))
    assert ours == theirs


def test_tpe_proposes_as_if_what_it_forgets_had_never_been() -> None:
    trials, seeds = random_trials(3 * MEMORY), range(8)
    gone = forgotten(trials, study_of([], RandomSampler()).directions)
    left = [trial for trial in trials if trial.number not in gone]
    ours = [proposals(study_of(trials, make_sampler("tpe", seed)), 1) for seed in seeds]
    assert ours == [proposals(study_of(left, optunas_own(seed)), 1) for seed in seeds]
    assert ours != [proposals(study_of(trials, optunas_own(seed)), 1) for seed in seeds]


def test_memory_is_the_latest_trials_and_the_frontier() -> None:
    trials = random_trials(3 * MEMORY)
    kept = set(range(3 * MEMORY)) - forgotten(trials, study_of([], RandomSampler()).directions)
    scores = {trial.number: trial.values for trial in trials if trial.values}
    front = {
        number
        for number, (asr, acc) in scores.items()
        if not any(a <= asr and b >= acc and (a, b) != (asr, acc) for a, b in scores.values())
    }
    latest = set(range(2 * MEMORY, 3 * MEMORY))
    assert kept == latest | front
    assert front - latest, "a test of the frontier needs an old trial on it"
    feasible = [number for number, (_, acc) in scores.items() if acc >= 0.3]
    assert min(feasible, key=lambda number: scores[number][0]) in kept


def test_memory_of_trials_without_scores_is_the_latest() -> None:
    study = study_of([], RandomSampler())
    for _ in range(MEMORY + 3):
        study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
    assert forgotten(study.trials, study.directions) == {0, 1, 2}


def test_quasi_random_points_are_even_where_a_parameter_is_conditional(url: str) -> None:
    """Of 16 Sobol points a half has the layer, and their betas lie in 8 of 16 strata: no two share one."""
    study = open_study(url, "s", "quasi-random", 0, DIRECTIONS)
    enqueue(study, {"group3": False}, {"control": "fine-tuning"})
    enqueue(study, {"group3": True, "beta3": 10.0}, {"control": "nad-code"})
    play_all(searcher_of(study, wanted=18, space=conditional_space))
    betas = [trial.params["beta3"] for trial in study.trials[2:] if trial.params["group3"]]
    assert len(betas) == 8
    assert len({int(math.log10(beta) / 4 * 16) for beta in betas}) == 8

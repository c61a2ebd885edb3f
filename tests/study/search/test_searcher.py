from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from toys import (
    DIRECTIONS,
    FINAL,
    coarse_space,
    conditional_space,
    play,
    play_all,
    searcher_of,
    states,
)

from study.record.storage import open_study
from study.search.samplers import SAMPLERS, make_sampler
from study.search.searcher import trial_seed

# what is asked


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_fills_a_conditional_space(url: str, sampler: str) -> None:
    study = open_study(url, "s", sampler, 0, DIRECTIONS)
    play_all(searcher_of(study, wanted=14, space=conditional_space))
    assert states(study) == ["COMPLETE"] * 14


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_resumed_study_does_not_repeat_its_first_draws(url: str, sampler: str) -> None:
    for wanted in (4, 8):
        play_all(searcher_of(open_study(url, "s", sampler, 0, DIRECTIONS), wanted))
    drawn = [trial.params["x"] for trial in open_study(url, "s", sampler, 0, DIRECTIONS).trials]
    assert len(set(drawn)) == len(drawn) == 8


def test_same_study_seed_asks_the_same_points(tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "two"):
        study = open_study(f"sqlite:///{tmp_path}/{name}.db", name, "tpe", 3, DIRECTIONS)
        play_all(searcher_of(study, 12))
        drawn.append([trial.params for trial in study.trials])
    assert drawn[0] == drawn[1]


# seeds and repeats


def test_repeated_point_is_a_replicate_under_a_new_seed(study: optuna.study.Study) -> None:
    play_all(searcher_of(study, wanted=8, space=coarse_space))
    for value in (1, 2):
        attrs = [trial.user_attrs for trial in study.trials if trial.params["x"] == value]
        assert [entry["replicate"] for entry in attrs] == list(range(len(attrs)))
        assert len({entry["seed"] for entry in attrs}) == len(attrs)


def test_points_share_seeds_and_other_studies_of_the_seed_too(tmp_path: Path) -> None:
    found: list[set[tuple[int, int]]] = []
    for sampler in ("random", "tpe"):
        study = open_study(f"sqlite:///{tmp_path}/{sampler}.db", "s", sampler, 9, DIRECTIONS)
        play_all(searcher_of(study, wanted=6, space=coarse_space))
        found.append({(trial.user_attrs["replicate"], trial.user_attrs["seed"]) for trial in study.trials})
    shared = found[0] & found[1]
    assert (0, trial_seed(5, 0)) in shared
    assert len({seed for _, seed in found[0]}) == len(found[0])


def test_trial_seeds_differ_between_studies_and_replicates() -> None:
    seeds = [trial_seed(study, replicate) for study in range(20) for replicate in range(20)]
    assert len(set(seeds)) == 400
    assert trial_seed(0, 0) == 2968811710, "a change of the seeds makes old studies incomparable"


@given(st.lists(st.sampled_from(["ask", "complete", "fail"]), max_size=25))
def test_no_two_live_trials_share_a_point_and_a_replicate(steps: list[str]) -> None:
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=optuna.samplers.RandomSampler(seed=1))
    searcher = searcher_of(study, wanted=99, max_failures=99, space=coarse_space)
    running: list[str] = []
    for number, step in enumerate(steps):
        if step == "ask":
            searcher.suggest(f"t{number}")
            running.append(f"t{number}")
        elif running:
            searcher.on_trial_complete(running.pop(0), FINAL if step == "complete" else {"error": "boom"})
    live = study.get_trials(states=(TrialState.COMPLETE, TrialState.RUNNING))
    used = [(trial.params["x"], trial.user_attrs["replicate"]) for trial in live]
    assert len(set(used)) == len(used)


def test_failed_point_gets_its_seed_again(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=1, space=lambda trial: {"x": trial.suggest_int("x", 1, 1)})
    first = play(searcher, {"error": "boom"})
    assert play(searcher)["seed"] == first["seed"]


# constraints


def test_complete_trials_carry_their_constraints_and_failed_ones_none(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=1, constraints=lambda scores: {"acc_drop": 0.75 - scores["acc"]})
    play(searcher, {"error": "diverged"})
    play(searcher, {**FINAL, "acc": 0.5})
    assert [dict(trial.constraints) for trial in study.trials] == [{}, {"acc_drop": 0.25}]


def test_sampler_prefers_points_that_meet_the_constraint() -> None:
    """Both scores are best at x = 0, where the constraint is broken."""
    feasible = {}
    for name, constraints in (("free", None), ("bound", lambda scores: {"acc": scores["acc"] - 0.5})):
        study = optuna.create_study(directions=list(DIRECTIONS), sampler=make_sampler("tpe", 0))
        searcher = searcher_of(study, wanted=30, constraints=constraints)
        while not searcher.finished:
            config = searcher.suggest("t")
            assert config is not None
            x = config["params"]["x"]
            searcher.on_trial_complete("t", {"final": True, "asr": x, "acc": 1 - x})
        feasible[name] = sum(trial.params["x"] >= 0.5 for trial in study.trials[15:])
    assert feasible["bound"] >= 2 * feasible["free"] + 5, feasible


# stopping when there is enough


def test_no_trial_starts_while_there_is_enough_and_one_that_runs_may_end_that(study: optuna.study.Study) -> None:
    enough = False
    searcher = searcher_of(study, wanted=9, enough=lambda: enough)
    for trial_id in ("a", "b"):
        assert searcher.suggest(trial_id) is not None
    enough = True
    searcher.on_trial_complete("a", FINAL)
    assert searcher.suggest("c") is None
    assert not searcher.finished, "one still runs"
    enough = False
    searcher.on_trial_complete("b", FINAL)
    assert searcher.suggest("c") is not None
    enough = True
    searcher.on_trial_complete("c", FINAL)
    assert searcher.finished
    assert states(study) == ["COMPLETE"] * 3


def test_study_that_has_enough_starts_nothing_when_resumed(study: optuna.study.Study) -> None:
    play_all(searcher_of(study, wanted=2))
    assert searcher_of(study, wanted=9, enough=lambda: True).finished
    assert not searcher_of(study, wanted=9).finished

from __future__ import annotations

import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from nad.errors import ConfigError, NadError
from study import search
from study.search import OptunaSearcher, enqueue, repair, trial_seed, verdict
from study.storage import SAMPLERS, open_study

METRICS = ("asr", "acc")
DIRECTIONS = ("minimize", "maximize")
FINAL = {"final": True, "asr": 0.1, "acc": 0.9}


def fine_space(trial: optuna.Trial) -> dict[str, Any]:
    return {"x": trial.suggest_float("x", 0.0, 1.0)}


def coarse_space(trial: optuna.Trial) -> dict[str, Any]:
    return {"x": trial.suggest_categorical("x", [1, 2])}


def conditional_space(trial: optuna.Trial) -> dict[str, Any]:
    chosen = trial.suggest_categorical("group3", [False, True])
    return {"betas": [trial.suggest_float("beta3", 1.0, 1e4, log=True)] if chosen else []}


@pytest.fixture
def study(url: str) -> optuna.study.Study:
    return open_study(url, "s", "random", 0, DIRECTIONS)


def searcher_of(study: optuna.study.Study, wanted: int = 3, **settings: Any) -> OptunaSearcher:
    return OptunaSearcher(study, settings.pop("space", fine_space), METRICS, wanted, **{"seed": 5, **settings})


def play(searcher: OptunaSearcher, outcome: dict[str, Any] | None = None, error: str = "") -> dict[str, Any]:
    """One trial from question to answer; returns its config."""
    config = searcher.suggest("t")
    assert config is not None
    searcher.on_trial_complete("t", FINAL if outcome is None else outcome, error)
    return config


def play_all(searcher: OptunaSearcher) -> None:
    while not searcher.finished:
        play(searcher)


def states(study: optuna.study.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


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


# what ends a run


def test_wanted_counts_complete_trials_and_failures_are_made_up_for(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=3)
    play(searcher, {"error": "boom"})
    play_all(searcher)
    assert Counter(states(study)) == {"COMPLETE": 3, "FAIL": 1}
    searcher.raise_if_failing()


def test_no_more_trials_run_than_are_still_wanted(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=2)
    assert searcher.suggest("a")
    assert searcher.suggest("b")
    assert searcher.suggest("c") is None
    assert not searcher.finished, "a running trial may still fail"
    searcher.on_trial_complete("a", error="lost")
    assert searcher.suggest("c")


def test_resumed_study_continues_to_the_wanted_number_and_more_extends_it(url: str) -> None:
    for wanted, total in ((3, 3), (3, 3), (5, 5)):
        study = open_study(url, "s", "tpe", 0, DIRECTIONS)
        play_all(searcher_of(study, wanted))
        assert states(study) == ["COMPLETE"] * total


def test_deadline_keeps_finished_work_and_starts_nothing_new(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=9, deadline=time.monotonic() + 0.2)
    assert searcher.suggest("a")
    time.sleep(0.25)
    assert searcher.finished
    assert searcher.suggest("b") is None
    searcher.on_trial_complete("a", FINAL)
    searcher.close()
    searcher.raise_if_failing()
    assert states(study) == ["COMPLETE"]


def test_failures_in_a_row_end_the_study_with_the_last_reason(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=9, max_failures=2)
    play(searcher)
    play(searcher, {"error": "ValueError: first"})
    assert not searcher.finished
    play(searcher, {"error": "ValueError: second\nand more"})
    assert searcher.finished
    with pytest.raises(NadError, match=r"2 trials in a row failed, with 1 of 9 .* trial 2: ValueError: second; mend"):
        searcher.raise_if_failing()


def test_failures_between_successes_do_not_end_the_study(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=6, max_failures=2)
    while not searcher.finished:
        play(searcher, {"error": "EraseDiverged: loss is inf"})
        play(searcher)
    searcher.raise_if_failing()
    assert Counter(states(study)) == {"COMPLETE": 6, "FAIL": 6}


def test_failures_of_earlier_runs_do_not_count_against_a_new_one(study: optuna.study.Study) -> None:
    play(searcher_of(study, max_failures=1), {"error": "boom"})
    play_all(searcher_of(study, wanted=2, max_failures=1))
    assert states(study).count("COMPLETE") == 2


# constraints


def test_complete_trials_carry_their_constraints_and_failed_ones_none(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=1, constraints=lambda scores: {"acc_drop": 0.75 - scores["acc"]})
    play(searcher, {"error": "diverged"})
    play(searcher, {**FINAL, "acc": 0.5})
    assert [dict(trial.constraints) for trial in study.trials] == [{}, {"acc_drop": 0.25}]


def test_sampler_prefers_points_that_meet_the_constraint(tmp_path: Path) -> None:
    """Both scores are best at x = 0, where the constraint is broken."""
    feasible = {}
    for name, constraints in (("free", None), ("bound", lambda scores: {"acc": scores["acc"] - 0.5})):
        study = open_study(f"sqlite:///{tmp_path}/{name}.db", name, "tpe", 0, DIRECTIONS)
        searcher = searcher_of(study, wanted=30, constraints=constraints)
        while not searcher.finished:
            config = searcher.suggest("t")
            assert config is not None
            x = config["params"]["x"]
            searcher.on_trial_complete("t", {"final": True, "asr": x, "acc": 1 - x})
        feasible[name] = sum(trial.params["x"] >= 0.5 for trial in study.trials[15:])
    assert feasible["bound"] >= 2 * feasible["free"] + 5, feasible


# how a trial ends

finite = st.floats(allow_nan=False, allow_infinity=False)
broken = st.sampled_from([math.nan, math.inf, -math.inf, None, "0.5"])
reports = st.fixed_dictionaries(
    {}, optional={"final": st.booleans(), "pruned": st.booleans(), "asr": finite | broken, "acc": finite | broken}
)


@given(reports)
def test_only_final_finite_reports_are_complete(report: dict[str, Any]) -> None:
    state, reason = verdict(report, METRICS)
    scores = [report.get(metric) for metric in METRICS]
    good = all(isinstance(score, float) and math.isfinite(score) for score in scores)
    assert (state is TrialState.COMPLETE) == (bool(report.get("final")) and good and not report.get("pruned"))
    assert bool(reason) == (state is TrialState.FAIL)


@pytest.mark.parametrize(
    ("outcome", "error", "state", "reason"),
    [
        ({"final": True, "asr": math.nan, "acc": 0.9}, "", "FAIL", "the final report is not finite: asr = nan"),
        ({"final": True, "asr": 0.1}, "", "FAIL", "the final report has no acc"),
        ({"final": False, "error": "EraseDiverged: loss is inf"}, "", "FAIL", "EraseDiverged: loss is inf"),
        ({"asr": 0.1, "acc": 0.9}, "", "FAIL", "the trial returned without a final report"),
        ({}, "", "FAIL", "the trial returned without a final report"),
        ({}, "the worker was killed", "FAIL", "the worker was killed"),
        ({"error": "ValueError: x"}, "the actor died", "FAIL", "ValueError: x"),
        (FINAL, "the actor died", "COMPLETE", None),
        ({"pruned": True, "asr": 0.1}, "", "PRUNED", None),
    ],
)
def test_each_end_of_a_trial_has_its_state_and_reason(
    study: optuna.study.Study, outcome: dict[str, Any], error: str, state: str, reason: str | None
) -> None:
    play(searcher_of(study), outcome, error)
    trial = study.trials[0]
    assert trial.state.name == state
    assert trial.user_attrs.get("error") == reason
    assert (trial.values == [0.1, 0.9]) == (state == "COMPLETE")


def test_record_holds_what_the_trial_reported(study: optuna.study.Study) -> None:
    searcher = searcher_of(study)
    config = searcher.suggest("t")
    assert config is not None
    searcher.on_trial_result("t", {"epoch": 1, "asr": np.float32(0.5), "acc": 0.75, "host": "h"})
    searcher.on_trial_result("t", {"epoch": 2, "asr": 0.25, "acc": math.nan})
    searcher.on_trial_result("t", {**FINAL, "seconds": 1.5, "loss": np.float64(0.25), "host": "h"})
    searcher.on_trial_result("t", {"error": "raised after its final report"})
    searcher.on_trial_complete("t", error="raised after its final report")
    trial = study.trials[0]
    attrs = trial.user_attrs
    assert trial.values == [0.1, 0.9]
    assert (attrs["seconds"], attrs["loss"], attrs["host"], attrs["replicate"]) == (1.5, 0.25, "h", 0)
    assert attrs["seed"] == config["seed"]
    assert attrs["started"].endswith("+00:00")
    assert attrs["curve"][0] == {"epoch": 1, "asr": 0.5, "acc": 0.75}
    assert math.isnan(attrs["curve"][1]["acc"])
    assert not {"final", "asr", "acc", "error"} & set(attrs)


def test_config_carries_what_the_space_made(study: optuna.study.Study) -> None:
    config = searcher_of(study, space=lambda trial: {"double": 2 * trial.suggest_float("x", 0, 1)}).suggest("t")
    assert config is not None
    assert config["params"] == {"double": 2 * study.trials[0].params["x"]}
    assert (config["number"], config["replicate"]) == (0, 0)


def test_space_that_raises_fails_its_trial_and_is_heard(study: optuna.study.Study) -> None:
    def space(trial: optuna.Trial) -> dict[str, Any]:
        raise ConfigError("betas must be positive")

    with pytest.raises(ConfigError, match="betas"):
        searcher_of(study, space=space).suggest("t")
    assert states(study) == ["FAIL"]
    assert study.trials[0].user_attrs["error"] == "ConfigError: betas must be positive"


def test_observer_hears_every_step_and_cannot_hurt(study: optuna.study.Study, caplog: pytest.LogCaptureFixture) -> None:
    heard = []

    def observe(event: search.TrialEvent) -> None:
        heard.append((event.kind, dict(event.scores), event.error))
        raise ValueError("the observer's own")

    searcher = searcher_of(study, on_event=observe)
    searcher.suggest("t")
    searcher.on_trial_result("t", {"epoch": 1, "asr": 0.5})
    searcher.on_trial_complete("t", FINAL)
    play(searcher, {"error": "boom"})
    play(searcher, {"pruned": True})
    assert heard[:3] == [
        ("started", {}, ""),
        ("progress", {"epoch": 1, "asr": 0.5}, ""),
        ("complete", {"asr": 0.1, "acc": 0.9}, ""),
    ]
    assert [step for step in heard[3:] if step[0] != "started"] == [("failed", {}, "boom"), ("pruned", {}, "")]
    assert "the observer's own" in caplog.text


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


# controls, crashes


def test_controls_are_asked_first_and_once(url: str) -> None:
    for wanted in (4, 6):
        study = open_study(url, "s", "tpe", 0, DIRECTIONS)
        enqueue(study, {"x": 0.0}, {"control": "fine-tuning"})
        enqueue(study, {"x": 0.25}, {"control": "nad-paper"})
        play_all(searcher_of(study, wanted))
    assert [trial.user_attrs.get("control") for trial in study.trials] == ["fine-tuning", "nad-paper", *[None] * 4]
    assert [trial.params["x"] for trial in study.trials[:2]] == [0.0, 0.25]


def test_control_at_the_point_of_another_trial_is_asked_all_the_same(study: optuna.study.Study) -> None:
    enqueue(study, {"x": 0.5}, {"control": "nad-paper"})
    enqueue(study, {"x": 0.5}, {"control": "nad-code"})
    play_all(searcher_of(study, wanted=2))
    assert [trial.user_attrs["control"] for trial in study.trials] == ["nad-paper", "nad-code"]
    assert [trial.user_attrs["replicate"] for trial in study.trials] == [0, 1]


def crash(study: optuna.study.Study) -> None:
    """A driver that dies while a trial runs."""
    assert searcher_of(study, wanted=99).suggest("t")


def test_after_a_crash_no_trial_is_running_and_the_point_is_asked_again(url: str, study: optuna.study.Study) -> None:
    enqueue(study, {"x": 0.5}, {"control": "fine-tuning"})
    crash(study)
    resumed = open_study(url, "s", "random", 0, DIRECTIONS)
    config = play(searcher_of(resumed))
    left, again = resumed.trials
    assert (left.state.name, left.user_attrs["error"]) == ("FAIL", search.STOPPED)
    assert again.params == left.params == {"x": 0.5}
    assert (again.user_attrs["control"], again.user_attrs["retry"]) == ("fine-tuning", 1)
    assert again.user_attrs["seed"] == left.user_attrs["seed"] == config["seed"]


def test_point_is_asked_again_at_most_twice(study: optuna.study.Study) -> None:
    for _ in range(3):
        crash(study)
    assert repair(study) == 1
    retries = [(trial.state.name, trial.user_attrs.get("retry", 0)) for trial in study.trials]
    assert retries == [("FAIL", 0), ("FAIL", 1), ("FAIL", 2)]


def test_lost_trial_is_asked_again_but_a_failed_one_is_not(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=2)
    lost = play(searcher, {}, "the worker was killed")
    again = play(searcher, {"error": "ValueError: its own doing"}, "the actor died")
    other = play(searcher)
    assert lost["params"] == again["params"] != other["params"]


def test_close_leaves_nothing_running(study: optuna.study.Study) -> None:
    searcher = searcher_of(study)
    searcher.suggest("a")
    searcher.suggest("b")
    searcher.close()
    assert states(study) == ["FAIL", "FAIL", "WAITING", "WAITING"]


def test_trial_that_died_before_its_parameters_were_drawn_is_asked_again(study: optuna.study.Study) -> None:
    enqueue(study, {"x": 0.5}, {"control": "nad-code"})
    study.ask()
    play(searcher_of(study))
    assert study.trials[1].params == {"x": 0.5}
    assert study.trials[1].user_attrs["control"] == "nad-code"

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from toys import (
    DIRECTIONS,
    FINAL,
    METRICS,
    play,
    play_all,
    searcher_of,
    states,
)

from nad.errors import ConfigError, NadError
from study.record.storage import open_study
from study.search import queue
from study.search.lost_trial import MAX_RETRIES, LostTrial
from study.search.queue import enqueue, repair
from study.search.trial_event import TrialEvent
from study.search.verdict import verdict

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
    searcher.on_trial_complete("a", lost=LostTrial("lost"))
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


def test_running_trial_that_succeeds_after_failures_in_a_row_lets_the_study_go_on(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=3, max_failures=2)
    searcher.suggest("runs")
    play(searcher, {"error": "boom"})
    play(searcher, {"error": "boom"})
    assert searcher.suggest("next") is None
    assert not searcher.finished, "the one that runs may still succeed"
    searcher.on_trial_complete("runs", FINAL)
    play_all(searcher)
    searcher.raise_if_failing()
    assert Counter(states(study)) == {"COMPLETE": 3, "FAIL": 2}


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
        ({"pruned": "it shows nothing"}, "", "PRUNED", "it shows nothing"),
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
    searcher.on_trial_complete("t", lost=LostTrial("raised after its final report"))
    trial = study.trials[0]
    attrs = trial.user_attrs
    assert trial.values == [0.1, 0.9]
    assert (attrs["seconds"], attrs["loss"], attrs["host"], attrs["draw"]) == (1.5, 0.25, "h", 0)
    assert attrs["seed"] == config["seed"]
    assert attrs["started"].endswith("+00:00")
    assert attrs["curve"][0] == {"epoch": 1, "asr": 0.5, "acc": 0.75}
    assert math.isnan(attrs["curve"][1]["acc"])
    assert not {"final", "asr", "acc", "error"} & set(attrs)


def test_config_carries_what_the_space_made(study: optuna.study.Study) -> None:
    config = searcher_of(study, space=lambda trial: {"double": 2 * trial.suggest_float("x", 0, 1)}).suggest("t")
    assert config is not None
    assert config["setting"] == {"double": 2 * study.trials[0].params["x"]}
    assert (config["number"], config["draw"]) == (0, 0)


def test_space_that_raises_fails_its_trial_and_is_heard(study: optuna.study.Study) -> None:
    def space(trial: optuna.Trial) -> dict[str, Any]:
        raise ConfigError("betas must be positive")

    with pytest.raises(ConfigError, match="betas"):
        searcher_of(study, space=space).suggest("t")
    assert states(study) == ["FAIL"]
    assert study.trials[0].user_attrs["error"] == "ConfigError: betas must be positive"


def test_observer_hears_every_step_and_cannot_hurt(study: optuna.study.Study, caplog: pytest.LogCaptureFixture) -> None:
    heard = []

    def observe(event: TrialEvent) -> None:
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
    assert [trial.user_attrs["draw"] for trial in study.trials] == [0, 1]


def controls(study: optuna.study.Study) -> list[tuple[str, str]]:
    """State and name of each, in the order of the record."""
    return [(t.state.name, t.user_attrs["control"]) for t in study.trials if "control" in t.user_attrs]


def test_control_that_failed_is_asked_again_by_the_next_run_and_once(url: str) -> None:
    for outcome in ({"error": "OutOfMemoryError: CUDA out of memory"}, {"error": "the same again"}, FINAL, FINAL):
        study = open_study(url, "s", "random", 0, DIRECTIONS)
        enqueue(study, {}, {"control": "fine-tuning"})
        searcher = searcher_of(study, wanted=9)
        play(searcher, outcome)
        play(searcher)
    assert controls(study) == [("FAIL", "fine-tuning"), ("FAIL", "fine-tuning"), ("COMPLETE", "fine-tuning")]


def test_control_that_has_used_up_its_retries_is_asked_again_by_the_next_run(study: optuna.study.Study) -> None:
    for run in range(2):
        enqueue(study, {}, {"control": "fine-tuning"})
        searcher = searcher_of(study, wanted=9)
        for _ in range(MAX_RETRIES + 1):
            play(searcher, {}, "the worker was killed")
        assert controls(study) == [("FAIL", "fine-tuning")] * (MAX_RETRIES + 1) * (run + 1)


def test_control_whose_retry_is_complete_is_not_asked_again(study: optuna.study.Study) -> None:
    for _ in range(2):
        enqueue(study, {}, {"control": "fine-tuning"})
        searcher = searcher_of(study, wanted=9)
        play(searcher, {}, "the worker was killed")
        play(searcher)
    assert controls(study) == [("FAIL", "fine-tuning"), ("COMPLETE", "fine-tuning")]


def test_control_that_diverged_would_diverge_again_and_is_not_asked(study: optuna.study.Study) -> None:
    enqueue(study, {"x": 0.5}, {"control": "nad-paper"})
    play(searcher_of(study), {"error": "the erase diverged", "diverged": True})
    enqueue(study, {"x": 0.5}, {"control": "nad-paper"})
    assert controls(study) == [("FAIL", "nad-paper")]


def test_control_that_takes_the_driver_with_it_is_not_asked_for_ever(study: optuna.study.Study) -> None:
    for _ in range(queue.MAX_RESTARTS + 3):
        enqueue(study, {"x": 0.5}, {"control": "nad-paper"})
        crash(study)
    assert len(controls(study)) == queue.MAX_RESTARTS + 1


class Killed(BaseException):
    """Stands for the kernel's."""


@pytest.mark.parametrize("lost_in", ["repair", "retry"])
def test_process_that_is_killed_while_it_gives_a_trial_up_asks_its_point_once(
    study: optuna.study.Study, monkeypatch: pytest.MonkeyPatch, lost_in: str
) -> None:
    def kill(*_arguments: Any, **_options: Any) -> None:
        raise Killed

    enqueue(study, {"x": 0.5}, {"control": "nad-paper"})
    searcher = searcher_of(study, wanted=9)
    searcher.suggest("t")
    lose = {"repair": lambda: repair(study), "retry": lambda: searcher.on_trial_complete("t", lost=LostTrial("killed"))}
    with monkeypatch.context() as patch:
        patch.setattr(study, "tell", kill)
        with pytest.raises(Killed):
            lose[lost_in]()
    assert controls(study) == [("RUNNING", "nad-paper"), ("WAITING", "nad-paper")]
    enqueue(study, {"x": 0.5}, {"control": "nad-paper"})
    play(searcher_of(study, wanted=9))
    assert controls(study) == [("FAIL", "nad-paper"), ("COMPLETE", "nad-paper")]


def crash(study: optuna.study.Study) -> None:
    """A driver that dies while a trial runs."""
    assert searcher_of(study, wanted=99).suggest("t")


def test_after_a_crash_no_trial_is_running_and_the_point_is_asked_again(url: str, study: optuna.study.Study) -> None:
    enqueue(study, {"x": 0.5}, {"control": "fine-tuning"})
    crash(study)
    resumed = open_study(url, "s", "random", 0, DIRECTIONS)
    config = play(searcher_of(resumed))
    left, again = resumed.trials
    assert (left.state.name, left.user_attrs["error"]) == ("FAIL", queue.STOPPED)
    assert again.params == left.params == {"x": 0.5}
    assert (again.user_attrs["control"], again.user_attrs["restart"]) == ("fine-tuning", 1)
    assert again.user_attrs["seed"] == left.user_attrs["seed"] == config["seed"]


def test_point_that_loses_its_process_is_asked_again_at_most_twice(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=9)
    configs = [play(searcher, {}, "the worker was killed") for _ in range(4)]
    assert configs[0]["setting"] == configs[1]["setting"] == configs[2]["setting"] != configs[3]["setting"]
    assert [trial.user_attrs.get("retry", 0) for trial in study.trials[:4]] == [0, 1, 2, 0]


def test_point_that_hangs_is_asked_again_once(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=9)
    points = []
    for _ in range(3):
        points.append(searcher.suggest("t")["setting"])
        searcher.on_trial_complete("t", lost=LostTrial.by_timeout(1200))
    assert points[0] == points[1] != points[2]
    assert study.trials[0].user_attrs["error"] == "it ran longer than --trial-timeout allows (1200 s), and was ended"


def test_killed_driver_costs_a_point_none_of_its_retries(study: optuna.study.Study) -> None:
    for _ in range(queue.MAX_RESTARTS):
        crash(study)
    searcher = searcher_of(study, wanted=9)
    play(searcher, {}, "the worker was killed")
    assert study.trials[-1].user_attrs == {"restart": queue.MAX_RESTARTS, "retry": 1}
    crash(study)
    assert repair(study) == 1
    assert "WAITING" not in states(study), "a trial that takes the driver with it does not keep a study for ever"


def test_lost_trial_is_asked_again_but_a_failed_one_is_not(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=2)
    lost = play(searcher, {}, "the worker was killed")
    again = play(searcher, {"error": "ValueError: its own doing"}, "the actor died")
    other = play(searcher)
    assert lost["setting"] == again["setting"] != other["setting"]


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

"""What the record says of trials that a pruner stopped, without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from toys import DIRECTIONS, FINAL, METRICS, fine_space, play, searcher_of, states

from reports.analysis.frontier import Bound
from study.record.storage import open_study
from study.search.halving import Halving, Seen
from study.search.queue import enqueue
from study.search.samplers import SAMPLERS
from study.search.searcher import OptunaSearcher, Shown

EPOCHS = 8


def report(searcher: OptunaSearcher, trial_id: str, epoch: int, asr: float = 0.5, acc: float = 0.5) -> bool:
    return searcher.on_trial_result(trial_id, {"epoch": epoch, "asr": asr, "acc": acc, "host": "h", "seconds": 1.0})


def never(trial: Shown, others: Sequence[Shown]) -> str:
    return ""


def always(trial: Shown, others: Sequence[Shown]) -> str:
    return "it shows nothing"


def ask_and_prune(searcher: OptunaSearcher) -> dict[str, Any]:
    """One trial that is stopped at its first report; returns its config."""
    config = searcher.suggest("t")
    assert config is not None
    assert report(searcher, "t", 1)
    searcher.on_trial_complete("t", {"epoch": 1, "asr": 0.5, "acc": 0.5})  # the engine repeats the last report
    return config


def test_trial_that_the_pruner_objects_to_is_recorded_with_what_it_showed(study: optuna.study.Study) -> None:
    ask_and_prune(searcher_of(study, pruner=always))
    (trial,) = study.trials
    assert (trial.state.name, trial.values) == ("PRUNED", None)
    assert trial.user_attrs["error"] == "it shows nothing"
    assert trial.user_attrs["curve"] == [{"epoch": 1, "asr": 0.5, "acc": 0.5, "seconds": 1.0}]
    assert trial.user_attrs["host"] == "h"
    assert "epoch" not in trial.user_attrs


def test_pruned_trials_count_as_wanted_also_when_the_study_is_resumed(url: str, study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=3, pruner=always)
    ask_and_prune(searcher)
    resumed = searcher_of(open_study(url, "s", "random", 0, DIRECTIONS), wanted=3, pruner=never)
    assert not resumed.finished
    play(resumed)
    play(resumed)
    assert resumed.finished
    assert resumed.suggest("t") is None
    assert states(study) == ["PRUNED", "COMPLETE", "COMPLETE"]


def test_pruned_trial_is_no_failure(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=9, pruner=always, max_failures=2)
    play(searcher, {"error": "first"})
    ask_and_prune(searcher)
    play(searcher, {"error": "second"})
    assert not searcher.finished, "two failures, but not in a row"


def test_point_that_was_asked_for_runs_to_its_end(study: optuna.study.Study) -> None:
    enqueue(study, {"x": 0.5}, {"control": "nad-paper"})
    searcher = searcher_of(study, pruner=always)
    searcher.suggest("t")
    assert not report(searcher, "t", 1)


def test_repeat_of_a_complete_trial_runs_to_its_end_but_that_of_a_pruned_one_does_not(
    study: optuna.study.Study,
) -> None:
    def one_point(trial: optuna.Trial) -> dict[str, Any]:
        return {"x": trial.suggest_categorical("x", [1])}

    searcher = searcher_of(study, wanted=9, space=one_point, pruner=always)
    ask_and_prune(searcher)
    ask_and_prune(searcher)
    play(searcher)
    searcher.suggest("t")
    assert not report(searcher, "t", 1)
    assert [trial.user_attrs["draw"] for trial in study.trials] == [0, 0, 0, 1]


def test_control_that_was_lost_runs_to_its_end_when_it_is_asked_again(study: optuna.study.Study) -> None:
    enqueue(study, {"x": 0.5}, {"control": "nad-paper"})
    play(searcher_of(study), {}, "the worker was killed")
    searcher = searcher_of(study, pruner=always)
    searcher.suggest("t")
    assert study.trials[1].user_attrs["retry"] == 1
    assert not report(searcher, "t", 1)


def test_pruner_sees_all_other_trials_with_scores_by_number(study: optuna.study.Study) -> None:
    seen: list[list[tuple[float, list[float], bool]]] = []

    def look(trial: Shown, others: Sequence[Shown]) -> str:
        seen.append(
            [(one.setting["x"], [entry["asr"] for entry in one.curve], one.complete) for one in (trial, *others)]
        )
        return "enough" if trial.curve[-1]["asr"] > 0.8 else ""

    searcher = searcher_of(study, wanted=9, pruner=look)
    x: list[float] = []
    for trial_id in "abcd":
        config = searcher.suggest(trial_id)
        assert config is not None
        x.append(config["setting"]["x"])
    report(searcher, "c", 1, asr=0.3)
    report(searcher, "a", 1, asr=0.1)
    assert seen[-1] == [(x[0], [0.1], False), (x[1], [], False), (x[2], [0.3], False), (x[3], [], False)]
    report(searcher, "b", 1, asr=0.9)
    searcher.on_trial_complete("b")
    searcher.on_trial_complete("c", {"error": "diverged"})
    report(searcher, "d", 1, asr=0.4)
    assert seen[-1] == [(x[3], [0.4], False), (x[0], [0.1], False), (x[1], [0.9], False)]
    searcher.on_trial_complete("a", FINAL)
    report(searcher, "d", 2, asr=0.5)
    assert seen[-1] == [(x[3], [0.4, 0.5], False), (x[0], [0.1], True), (x[1], [0.9], False)]


# a study that is interrupted


def halving(trial: Shown, others: Sequence[Shown]) -> str:
    def seen(shown: Shown) -> Seen:
        curve = np.array([[entry["asr"], 1 - entry["acc"]] for entry in shown.curve], dtype=float).reshape(-1, 2)
        return Seen(curve, EPOCHS, 1, shown.complete, 1 - curve[-1, 1] if len(curve) else 0.0)

    return Halving(floor=-1.0, rungs=(2, 4)).objection(seen(trial), [seen(other) for other in others])


def curve_of(x: float) -> list[tuple[float, float]]:
    """Scores that depend on the point alone, rounded, so that some are equal."""
    rng = np.random.default_rng(int(x * 2**32))
    return [(round(asr, 1), round(acc, 1)) for asr, acc in rng.random((EPOCHS, 2))]


def run_to_its_end(searcher: OptunaSearcher) -> bool:
    config = searcher.suggest("t")
    if config is None:
        return False
    for epoch, (asr, acc) in enumerate(curve_of(config["setting"]["x"]), start=1):
        if report(searcher, "t", epoch, asr, acc):
            searcher.on_trial_complete("t")
            return True
    searcher.on_trial_complete("t", {"final": True, "asr": 0.5, "acc": 0.5})
    return True


def outcomes(study: optuna.study.Study) -> list[tuple[str, int]]:
    return [(trial.state.name, len(trial.user_attrs["curve"])) for trial in study.trials if trial.state.name != "FAIL"]


def ask_all(study: optuna.study.Study) -> None:
    for x in np.random.default_rng(0).random(18).round(6).tolist():
        enqueue(study, {"x": x}, {})


def test_resumed_study_prunes_as_an_uninterrupted_one_would(url: str, study: optuna.study.Study) -> None:
    ask_all(study)
    searcher = searcher_of(study, wanted=18, pruner=halving)
    while run_to_its_end(searcher):
        pass
    broken = open_study(url, "broken", "random", 0, DIRECTIONS)
    ask_all(broken)
    for end in range(3, 19, 3):
        searcher = searcher_of(open_study(url, "broken", "random", 0, DIRECTIONS), wanted=end, pruner=halving)
        while run_to_its_end(searcher):
            pass
    assert outcomes(broken) == outcomes(study)
    assert {length for _, length in outcomes(study)} == {2, 4, EPOCHS}


# what samplers make of pruned trials


def nearest(url: str, name: str, sampler: str, *, pruner: Any) -> float:
    """Mean x of 20 points after 10 with a high x that were pruned and 10 with a low one that miss the constraint."""
    study = open_study(url, name, sampler, 0, DIRECTIONS)
    for x in np.linspace(0.8, 1.0, 10).tolist() + np.linspace(0.0, 0.2, 10).tolist():
        enqueue(study, {"x": x}, {})
    searcher = OptunaSearcher(study, fine_space, METRICS, 40, seed=0, pruner=pruner, bound=Bound(0.0, acc=1.0))
    for _ in range(40):
        config = searcher.suggest("t")
        assert config is not None
        stopped = report(searcher, "t", 1)
        searcher.on_trial_complete("t", None if stopped else FINAL)
    return float(np.mean([trial.params["x"] for trial in study.trials[20:]]))


def test_tpe_keeps_away_from_pruned_points(url: str, study: optuna.study.Study) -> None:
    def above_half(trial: Shown, others: Sequence[Shown]) -> str:
        return "too large" if trial.setting["x"] > 0.5 else ""

    assert nearest(url, "pruned", "tpe", pruner=above_half) < 0.4


def test_every_sampler_goes_on_beside_pruned_trials(url: str, study: optuna.study.Study) -> None:
    def every_other(trial: Shown, others: Sequence[Shown]) -> str:
        return "an odd one" if len(others) % 2 else ""

    for sampler in SAMPLERS:
        searcher = searcher_of(open_study(url, sampler, sampler, 0, DIRECTIONS), wanted=16, pruner=every_other)
        while run_to_its_end(searcher):
            pass
        assert searcher.finished, sampler

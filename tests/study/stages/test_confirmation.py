from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import optuna
import pytest

from nad.erasure import PRESETS, EraseConfig
from reports.analysis.frontier import Bound
from search_spaces import Point
from study.options.config import StudyConfig
from study.stages.confirmation import ConfirmationRun, chosen, clean_plan, plan, twin
from study.stages.confirmation_results import CLEAN_MODEL, Counts, clean_results, results, victim_results
from study.stages.confirmation_runs import Confirmation, ConfirmationPlan

COUNTS = Counts(asr=90, acc=100)
BOUND = Bound(0.03, 0.8)
NAD = Point(0.05, PRESETS["code"])
TUNING = twin(NAD)
PAPER = Point(0.05, PRESETS["paper"])


def setting(number: int) -> dict[str, Any]:
    return Point(0.05, replace(TUNING.erase, epochs=number + 1)).values(())


def numbers(points: list[Point]) -> list[int]:
    return [point.erase.epochs - 1 for point in points]


def study_of(*trials: tuple[float, float, str]) -> optuna.Study:
    """asr, acc and the name of a control, or empty; the same on four draws."""
    study = optuna.create_study(directions=["minimize", "maximize"])
    for draw, (number, (asr, acc, control)) in product(range(4), enumerate(trials)):
        attrs = {"setting": setting(number), "draw": draw} | ({"control": control} if control else {})
        study.add_trial(optuna.trial.create_trial(values=[asr, acc], user_attrs=attrs))
    return study


def scores(asr: float, acc: float) -> dict[str, Any]:
    return {"asr": asr, "acc": acc, "balanced_acc": acc / 2, "loss": 0.1}


def test_recommended_setting_and_the_controls_are_confirmed() -> None:
    study = study_of(
        (0.9, 0.8, "fine-tuning"),  # dominated, a control
        (0.0, 0.2, ""),  # an end
        (0.1, 0.75, ""),  # the knee
        (0.3, 0.78, ""),  # recommended
        (0.85, 0.82, ""),  # the other end
        (0.5, 0.79, ""),  # on the front, no more
        (0.6, 0.5, ""),  # dominated
    )
    assert numbers(chosen(study, BOUND)) == [3, 0]


def test_without_a_setting_to_recommend_the_controls_are_confirmed() -> None:
    assert numbers(chosen(study_of((0.9, 0.5, "fine-tuning"), (0.1, 0.4, "")), BOUND)) == [0]


def test_nothing_is_confirmed_before_anything_is_complete() -> None:
    assert chosen(study_of(), BOUND) == []


def test_points_share_a_twin_and_fine_tuning_is_its_own() -> None:
    other = Point(0.05, EraseConfig(**{**vars(PRESETS["code"]), "betas": (1.0, 1.0, 1.0)}))
    runs = plan([NAD, other, TUNING], 2)
    assert runs == [ConfirmationRun(point, draw) for draw in (1001, 1002) for point in (NAD, TUNING, other)]


def test_runs_of_different_settings_have_different_keys() -> None:
    runs = [*plan([NAD, Point(0.1, NAD.erase)], 12)]
    assert len({run.key for run in runs}) == len(runs)


def test_scores_of_two_draws_become_a_mean_with_intervals_and_a_paired_difference() -> None:
    recorded = {
        ConfirmationRun(NAD, 1).key: scores(0.1, 0.80),
        ConfirmationRun(NAD, 2).key: scores(0.3, 0.70),
        ConfirmationRun(TUNING, 1).key: scores(0.6, 0.82),
        ConfirmationRun(TUNING, 2).key: scores(0.78, 0.72),
    }
    found = results(recorded, NAD, COUNTS)
    assert found["test"]["asr"] == pytest.approx(0.2)
    assert found["test"]["seeds"] == 2
    assert found["test"]["runs"] == [
        {"draw": 1, "asr": 0.1, "acc": 0.80, "balanced_acc": 0.40},
        {"draw": 2, "asr": 0.3, "acc": 0.70, "balanced_acc": 0.35},
    ]
    assert found["test"]["balanced_acc"] == pytest.approx(0.375)
    low, high = found["test"]["acc_ci"]
    assert low < 0.7
    assert high > 0.8
    # the two draws differ a lot, but the pairs agree: that is what pairing is for
    assert found["twin"]["asr_added"] == pytest.approx(-0.49)
    low, high = found["twin"]["asr_added_ci"]
    assert high - low == pytest.approx(2 * 12.706 * 0.01, rel=1e-3)  # Student's t with one degree of freedom
    assert found["twin"]["acc_added"] == pytest.approx(-0.02)


def test_only_draws_that_both_finished_are_paired() -> None:
    recorded = {
        ConfirmationRun(NAD, 1).key: scores(0.1, 0.8),
        ConfirmationRun(NAD, 2).key: {"error": "the erase diverged"},
        ConfirmationRun(TUNING, 2).key: scores(0.6, 0.8),
    }
    found = results(recorded, NAD, COUNTS)
    assert (found["test"]["seeds"], found["test"]["diverged"]) == (1, 1)
    assert [run["draw"] for run in found["test"]["runs"]] == [1]
    assert (found["twin"]["pairs"], found["twin"]["asr_added"], found["twin"]["asr_added_ci"]) == (0, None, None)


def test_point_whose_runs_all_diverged_is_not_one_that_was_not_confirmed() -> None:
    found = results({ConfirmationRun(TUNING, 1).key: {"error": "the erase diverged"}}, TUNING, COUNTS)
    nothing = {"asr": None, "asr_ci": None, "acc": None, "acc_ci": None}
    assert found["test"] == {"seeds": 0, "diverged": 1, "runs": [], "balanced_acc": None, **nothing}


def test_what_was_not_run_is_null() -> None:
    assert results({}, NAD, COUNTS) == {"test": None, "twin": None}
    assert victim_results({}, COUNTS) == {"test": None, "twin": None}


def test_fine_tuning_has_test_scores_and_no_twin() -> None:
    found = results({ConfirmationRun(TUNING, 1).key: scores(0.6, 0.8)}, TUNING, COUNTS)
    assert found["test"]["asr"] == 0.6
    assert found["twin"] is None


CLEAN = {CLEAN_MODEL: {"sha256": "a" * 64, "asr": 0.02, "acc": 0.85}}


def test_erases_of_a_clean_model_have_keys_of_their_own() -> None:
    keys = {run.key for runs in (plan([NAD], 2), *(clean_plan(NAD, 2, digest * 64) for digest in "ab")) for run in runs}
    assert len(keys) == 2 * 2 + 2 + 2
    assert [run.draw for run in clean_plan(NAD, 2, "a" * 64)] == [1001, 1002]


def test_price_without_a_backdoor_is_the_mean_change_of_accuracy() -> None:
    first, second, lost = clean_plan(NAD, 3, "a" * 64)
    recorded = {
        **CLEAN,
        first.key: scores(0.03, 0.84),
        second.key: scores(0.01, 0.80),
        lost.key: {"error": "the teacher's fine-tuning diverged"},
        ConfirmationRun(NAD, 1).key: scores(0.5, 0.5),
    }
    found = clean_results(recorded, NAD, COUNTS)
    assert found is not None
    assert (found["before"]["acc"], found["before"]["seeds"]) == (0.85, 1)
    assert (found["after"]["acc"], found["after"]["asr"]) == (pytest.approx(0.82), pytest.approx(0.02))
    assert (found["after"]["seeds"], found["after"]["diverged"]) == (2, 1)
    assert found["acc_change"] == pytest.approx(-0.03)
    low, high = found["acc_change_ci"]
    assert (low, high) == (
        pytest.approx(-0.03 - 12.706 * 0.02, rel=1e-3),
        pytest.approx(-0.03 + 12.706 * 0.02, rel=1e-3),
    )
    assert results(recorded, NAD, COUNTS)["test"]["seeds"] == 1, "the victim's runs are not those of the clean model"


def test_clean_model_that_was_trained_anew_and_came_out_otherwise_is_not_mixed_with_the_old_one() -> None:
    old = clean_plan(NAD, 1, "b" * 64)[0].key
    assert clean_results({**CLEAN, old: scores(0.0, 0.8)}, NAD, COUNTS) is None


def test_record_without_a_clean_model_says_null() -> None:
    assert clean_results({ConfirmationRun(NAD, 1).key: scores(0.1, 0.8)}, NAD, COUNTS) is None


def test_clean_model_whose_erases_all_diverged_has_no_change() -> None:
    recorded = {**CLEAN, clean_plan(NAD, 1, "a" * 64)[0].key: {"error": "the erase diverged"}}
    found = clean_results(recorded, NAD, COUNTS)
    assert found is not None
    assert (found["acc_change"], found["acc_change_ci"], found["after"]["diverged"]) == (None, None, 1)


def test_progress_counts_each_run_once_and_what_the_record_lacks() -> None:
    """Two draws of two NAD controls and their twins, one of these a control itself, and of the clean model."""
    config = StudyConfig.of(clean_fractions=(0.05,), confirm=2)
    study = optuna.create_study(directions=["minimize", "maximize"])
    for draw, (name, point, asr) in product(
        range(4), (("fine-tuning", TUNING, 0.3), ("nad-code", NAD, 0.2), ("nad-paper", PAPER, 0.9))
    ):
        attrs = {"control": name, "setting": point.values(config.layers), "draw": draw}
        study.add_trial(optuna.trial.create_trial(values=[asr, 0.8], user_attrs=attrs))
    confirmation = ConfirmationPlan(config, study, BOUND)
    points = confirmation.setting_runs()
    assert len(points) == 2 * 4
    assert confirmation.count_runs() == {"draws": 2, "runs": 8 + 2, "done": 0}
    study.set_user_attr(points[0].key, scores(0.1, 0.8))
    assert confirmation.count_runs() == {"draws": 2, "runs": 10, "done": 1}
    study.set_user_attr(CLEAN_MODEL, {"sha256": "a" * 64, "asr": 0.02, "acc": 0.85})
    pick = confirmation.clean_point()
    assert pick is not None
    for run in [*points[1:], *clean_plan(pick, 2, "a" * 64)]:
        study.set_user_attr(run.key, {"error": "diverged"})
    assert confirmation.count_runs() == {"draws": 2, "runs": 10, "done": 10}
    assert ConfirmationPlan(config.changed(confirm=0), study, BOUND).count_runs() is None


def test_what_the_answer_rests_on_is_run_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(Confirmation, "_on_the_victim", lambda _self, stage, _planned: made.append(stage))
    monkeypatch.setattr(Confirmation, "_by_the_baselines", lambda _self: made.append("baselines"))
    monkeypatch.setattr(Confirmation, "_on_a_clean_model", lambda _self, _point: made.append("clean model"))
    monkeypatch.setattr(ConfirmationPlan, "clean_point", lambda _self: NAD)
    config = StudyConfig.of(clean_fractions=(0.05,), confirm=2)
    nothing: Any = None
    plan = ConfirmationPlan(config, study_of(), BOUND)
    Confirmation(plan, nothing, nothing, nothing, nothing, nothing, "").run()
    assert made == ["confirmation", "baselines", "clean model"]


def test_where_nothing_is_recommended_no_clean_model_is_waited_for() -> None:
    config, study = StudyConfig.of(clean_fractions=(0.05,), confirm=2), study_of((0.5, 0.2, ""))
    assert ConfirmationPlan(config, study, BOUND).clean_point() is None

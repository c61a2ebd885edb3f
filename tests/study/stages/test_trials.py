"""What the sampler is told of the accuracy that may be lost."""

import optuna
import pytest

from reports.analysis.frontier import Bound
from study.record.exports import search_outcome
from study.stages.trials import ACC_DROP, constraints, other_bounds

VICTIM_ACC = 0.8


def tell(study: optuna.Study, asr: float, acc: float, bound: float | None) -> None:
    trial = study.ask()
    if bound is not None:
        trial.set_constraint(ACC_DROP, VICTIM_ACC - acc - bound)
    study.tell(trial, [asr, acc])


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ((), None),
        ((0.07, 0.07), None),
        ((None, 0.07), None),
        ((0.03, 0.07, 0.03), "2 of 3 complete trials were run with another --max-acc-drop"),
    ],
)
def test_trials_under_another_bound_are_counted(bounds: tuple[float | None, ...], said: str | None) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    for number, bound in enumerate(bounds):
        tell(study, 0.1 * number, 0.75 + 0.01 * number, bound)
    found = other_bounds(study, VICTIM_ACC, 0.07)
    assert found is None if said is None else said in (found or "")


def test_the_sampler_is_told_of_either_accuracy_and_of_a_guess() -> None:
    bound = Bound(0.1, 0.94, 0.9, 0.325)
    told = constraints(bound, {"asr": 0.0, "acc": 0.94, "balanced_acc": 0.7})
    assert told == pytest.approx({"acc_drop": -0.1, "balanced_acc_drop": 0.1})
    assert constraints(bound._replace(max_drop=1.0), {"acc": 0.94, "balanced_acc": 0.25})["balanced_acc_drop"] > 0


def study_of(*trials: tuple[float, float, float | None]) -> optuna.Study:
    """asr, acc and balanced accuracy, None where it was not measured."""
    study = optuna.create_study(directions=["minimize", "maximize"])
    for asr, acc, balanced_acc in trials:
        attrs = {} if balanced_acc is None else {"balanced_acc": balanced_acc}
        study.add_trial(optuna.trial.create_trial(values=[asr, acc], user_attrs=attrs))
    return study


def test_a_model_of_one_answer_is_never_recommended() -> None:
    """Classes of 900, 20, 20 and 20 images: it loses no accuracy, and has no ASR."""
    for drop in (0.03, 1.0):
        bound = Bound(drop, 0.9375, 0.8, 0.325)
        assert search_outcome(study_of((0.0, 0.9375, 0.25), (0.4, 0.95, 0.79)), bound).pick == 1
        assert search_outcome(study_of((0.0, 0.9375, 0.25)), bound).pick is None


def test_trials_before_balanced_accuracy_was_measured_go_by_accuracy() -> None:
    assert search_outcome(study_of((0.0, 0.7, None), (0.1, 0.79, None)), Bound(0.03, 0.8, 0.8, 0.19)).pick == 1

"""What is asked before any proposal, and what is recommended of a study's settings."""

import io
from itertools import product
from typing import cast

import optuna
from rich.console import Console

from reports.analysis.frontier import Bound
from search_spaces import Domain
from study.display.progress import Display
from study.options.config import StudyConfig
from study.record.outcome import SearchOutcome
from study.stages.draws import Draws
from study.stages.trials import TrialStage


def study_of(*trials: tuple[float, float, float | None]) -> optuna.Study:
    """asr, acc and balanced accuracy, None where it was not measured; the same on four draws."""
    study = optuna.create_study(directions=["minimize", "maximize"])
    for draw, (number, (asr, acc, balanced_acc)) in product(range(4), enumerate(trials)):
        known = {} if balanced_acc is None else {"balanced_acc": balanced_acc}
        attrs = {"setting": {"x": number}, "draw": draw, **known}
        study.add_trial(optuna.trial.create_trial(values=[asr, acc], user_attrs=attrs))
    return study


def test_a_model_of_one_answer_is_never_recommended() -> None:
    """Classes of 900, 20, 20 and 20 images: it loses no accuracy, and has no ASR."""
    for drop in (0.03, 1.0):
        bound = Bound(drop, 0.9375, 0.8, 0.325)
        assert SearchOutcome.of(study_of((0.0, 0.9375, 0.25), (0.4, 0.95, 0.79)), bound).pick == 1
        assert SearchOutcome.of(study_of((0.0, 0.9375, 0.25)), bound).pick is None


def test_trials_before_balanced_accuracy_was_measured_go_by_accuracy() -> None:
    assert SearchOutcome.of(study_of((0.0, 0.7, None), (0.1, 0.79, None)), Bound(0.03, 0.8, 0.8, 0.19)).pick == 1


def test_a_lucky_run_is_not_recommended_before_a_setting_that_held() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    runs = [(0, draw, asr) for draw, asr in enumerate((0.22, 0.18, 0.2, 0.19, 0.21))]
    runs += [(1, draw, asr) for draw, asr in enumerate((0.9, 0.3, 0.7, 0.1, 0.95))]
    runs += [(number, 0, 0.3 + 0.05 * number) for number in range(2, 12)] + [(12, 0, 0.1)]
    for number, draw, asr in runs:
        attrs = {"setting": {"x": number}, "draw": draw, "balanced_acc": 0.8}
        study.add_trial(optuna.trial.create_trial(values=[asr, 0.8], user_attrs=attrs))
    outcome = SearchOutcome.of(study, Bound(0.03, 0.81, 0.81))
    assert outcome.pick is not None
    assert outcome.settings[outcome.pick].user_attrs["setting"] == {"x": 0}
    assert outcome.estimates.reliability[12] < 0.5


def test_portfolio_says_what_a_space_lacks(study: optuna.Study) -> None:
    said = io.StringIO()
    domain = Domain(("group1", "group2", "group3"), (0.05,), {"group1": 1.0, "group2": 1.0, "group3": 1.0})
    config = StudyConfig.of(attack="badnets", space="fine-tuning", portfolio_without=("blend",))
    display = Display(Console(file=said, width=1000))
    stage = TrialStage(config, study, cast("Draws", None), domain, Bound(0.03, 0.8, 0.8), display)
    stage._enqueue_known(())
    asked = [trial.user_attrs["portfolio"] for trial in study.get_trials() if "portfolio" in trial.user_attrs]
    assert asked == ["fine-tuning-lr-0.02"]
    assert "left out, since the space fine-tuning lacks them: group3-lr-0.01, group3-lr-0.1\n" in said.getvalue()
    assert "portfolio: found on badnets itself: fine-tuning-lr-0.02; --portfolio-without badnets" in said.getvalue()

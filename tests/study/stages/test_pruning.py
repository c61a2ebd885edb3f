"""The rule as a study applies it: from hyperparameters and curves as the record has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from study.engine.erase_task import Workload
from study.search.halving import RUNGS
from study.search.searcher import Pruner, Shown
from study.stages.pruning import pruner

FIRST = RUNGS[0]
GOOD, BAD = (0.1, 0.8), (0.9, 0.5)


@pytest.fixture
def judge() -> Pruner:
    """Of a study of ten classes."""
    workload = SimpleNamespace(classes=10, clean_labels=np.arange(800) % 10)
    return pruner(cast(Workload, workload))


def shown(
    scores: tuple[float, float], done: int, epochs: int = 20, schedule: str = "code", *, complete: bool = False
) -> Shown:
    """An erase without distillation whose glances all saw the same (asr, acc)."""
    setting: dict[str, Any] = {f"distil_group{group}": False for group in (1, 2, 3)}
    setting |= {"clean_fraction": 0.05, "schedule": schedule, "cutout": 3, "epochs": epochs, "batch_size": 64}
    curve = [{"epoch": epoch, "asr": scores[0], "acc": scores[1]} for epoch in range(1, done + 1)]
    return Shown(setting, curve, complete)


def test_one_answer_for_every_image_is_stopped_however_accurate_it_is() -> None:
    workload = SimpleNamespace(clean_labels=np.array([0, 1, 2, 3, 0, 1, 2, 3] + [0] * 92))
    judge = pruner(cast(Workload, workload))
    one = shown((0.0, 0.96), 6, 12)
    for entry, stopped in ((0.25, True), (0.6, False)):
        curve = [dict(epoch, balanced_acc=entry) for epoch in one.curve]
        assert ("no better than chance" in judge(one._replace(curve=curve), [])) is stopped


def test_lower_asr_and_higher_accuracy_are_better(judge: Pruner) -> None:
    others = [shown(GOOD, FIRST), shown(GOOD, FIRST)]
    assert judge(shown(BAD, FIRST), others) == f"after {FIRST} of 20 epochs it ranked 3 of 3, and the best 2 go on"
    assert judge(shown((0.0, 0.9), FIRST), others) == ""
    assert judge(shown((0.9, 0.9), FIRST), [shown(BAD, FIRST)] * 3) == ""


def test_a_short_erase_that_ended_better_counts_against_a_longer_one(judge: Pruner) -> None:
    others = [shown(GOOD, 2, 2, complete=True)] * 2
    assert judge(shown(BAD, FIRST), others) != ""
    assert judge(shown(BAD, FIRST), [other._replace(complete=False) for other in others]) == ""


def test_one_cycle_is_not_judged_at_its_height(judge: Pruner) -> None:
    others = [shown(GOOD, 20, complete=True)] * 3
    for rung in RUNGS:
        assert judge(shown(BAD, rung, schedule="one-cycle"), others) == ""
        assert judge(shown(BAD, rung), others) != ""


def test_classifier_that_guesses_is_stopped_at_half_of_its_epochs(judge: Pruner) -> None:
    assert judge(shown((0.0, 0.15), 5, 12), []) == ""
    assert "no better than chance" in judge(shown((0.0, 0.15), 6, 12), [])
    assert judge(shown((0.0, 0.17), 6, 12), []) == ""

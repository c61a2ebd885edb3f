from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from commands import check

from benchmarks.promise import Arguments, Miss, command, miss, summary


def study(searched: tuple[float, float], tested: tuple[float, float] | None) -> Any:
    scores, test = SimpleNamespace(asr=searched[0], acc=searched[1]), None
    if tested is not None:
        test = SimpleNamespace(asr=tested[0], acc=tested[1])
    return cast(Any, SimpleNamespace(recommended=SimpleNamespace(scores=scores, test=test)))


def test_a_miss_is_the_test_score_less_the_promise() -> None:
    assert miss(study((0.1, 0.8), (0.5, 0.79))) == pytest.approx((0.4, -0.01))
    assert miss(study((0.1, 0.8), None)) is None
    assert miss(cast(Any, SimpleNamespace(recommended=None))) is None


def test_misses_of_both_signs_do_not_cancel() -> None:
    found = summary([Miss(0.1, -0.02), Miss(-0.3, 0.02)])
    assert found == {"studies": 2, "mean_asr": -0.1, "mean_acc": 0.0, "mean_size_asr": 0.2, "mean_size_acc": 0.02}
    assert summary([]) == {"studies": 0}


def test_its_command_is_one_of_the_tool() -> None:
    check(["nad-study", *command(Arguments(), 3)])

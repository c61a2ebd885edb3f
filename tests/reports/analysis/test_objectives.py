from __future__ import annotations

import numpy as np
import pytest

from reports.analysis.objectives import OBJECTIVES, costs


def test_the_order_of_objectives_is_asr_then_acc() -> None:
    assert [(objective.name, objective.direction) for objective in OBJECTIVES] == [
        ("asr", "minimize"),
        ("acc", "maximize"),
    ]


def test_costs_are_asr_and_lost_accuracy() -> None:
    np.testing.assert_allclose(costs(np.array([[0.2, 0.7], [1.0, 0.0]])), [[0.2, 0.3], [1.0, 1.0]])


@pytest.mark.parametrize("bad", [[[0.1, np.nan]], [[1.2, 0.5]], [[-0.1, 0.5]]])
def test_costs_refuse_what_is_no_score(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="fractions"):
        costs(np.array(bad))


def test_costs_refuse_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        costs(np.array([0.1, 0.5]))

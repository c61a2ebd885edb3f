from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.hyperparameters import OFF, Hyperparameter, axis, betas, hyperparameters


def _trials(*params: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame({"params": pd.Series(params, dtype=object)})


def test_a_layers_beta_stands_for_its_switch_and_is_missing_where_the_layer_is_off() -> None:
    trials = _trials({"distil_a": True, "beta_a": 10.0, "epochs": 3}, {"distil_a": False, "epochs": 4})
    found = hyperparameters(trials)
    assert [one.label for one in found] == ["β a", "epochs"]
    assert found[0].values == (10.0, None)
    assert found[0].absent.tolist() == [False, True]


def test_what_does_not_vary_is_left_out() -> None:
    trials = _trials({"epochs": 3, "lr": 0.1}, {"epochs": 3, "lr": 0.2})
    assert [one.name for one in hyperparameters(trials)] == ["lr"]


def test_a_switch_without_betas_is_yes_or_absent() -> None:
    (beta,) = betas(_trials({"distil_a": True}, {"distil_a": False}))
    assert beta.values == ("yes", None)


def test_a_decade_is_drawn_by_its_logarithm_and_less_is_not() -> None:
    assert axis(Hyperparameter("x", "x", (1.0, 10.0, 100.0))).positions == pytest.approx([0, 0.5, 1])
    assert axis(Hyperparameter("x", "x", (1.0, 2.0, 3.0))).positions == pytest.approx([0, 0.5, 1])


def test_trials_without_a_value_stand_apart_at_the_bottom() -> None:
    found = axis(Hyperparameter("beta_a", "β a", (None, 10.0, 1000.0)))
    assert found.positions[0] == 0
    assert found.positions[1] > 0.1
    assert found.ticks[0] == (0.0, OFF)


@pytest.mark.parametrize("high", [1.5, 9.0, 11.0, 345.0, 1e7])
def test_ticks_are_few_round_and_inside(high: float) -> None:
    values = tuple(np.linspace(1.0, high, 40))
    found = axis(Hyperparameter("x", "x", values))
    assert 1 <= len(found.ticks) <= 6
    assert all(-1e-9 <= place <= 1 + 1e-9 for place, _ in found.ticks)
    assert np.all(np.diff([place for place, _ in found.ticks]) > 0)


def test_words_have_places_of_their_own() -> None:
    found = axis(Hyperparameter("s", "s", ("paper", "code", "paper")))
    assert found.positions.tolist() == [1, 0, 1]
    assert found.ticks == ((0.0, "code"), (1.0, "paper"))


def test_a_value_that_never_varies_stands_in_the_middle_without_a_warning() -> None:
    assert axis(Hyperparameter("x", "x", (2.0, 2.0))).positions.tolist() == [0.5, 0.5]

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.analysis.importance import bins, importances
from reports.hyperparameters import Hyperparameter


def _one(name: str, values: object) -> Hyperparameter:
    return Hyperparameter(name, name, tuple(values))  # type: ignore[arg-type]


def test_the_effect_is_that_of_the_kruskal_wallis_test() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 3, 50)
    scores = rng.normal(size=50) + groups
    one = _one("a", [str(group) for group in groups])
    result = importances((one,), scores, np.random.default_rng(0))
    statistic = stats.kruskal(*(scores[groups == group] for group in range(3))).statistic
    assert result.values[0] == pytest.approx((statistic - 2) / (50 - 3))


def test_a_setting_that_decides_stands_out_and_the_others_do_not() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((40, 3))
    scores = (values[:, 1] - 0.5) ** 2 + rng.normal(0, 0.01, 40)  # no correlation, but an effect
    given = tuple(_one(name, values[:, column]) for column, name in enumerate("abc"))
    result = importances(given, scores, np.random.default_rng(0))
    assert result.values[1] > 0.5 > result.chance
    assert max(result.values[0], result.values[2]) < result.chance


def test_noise_passes_the_line_of_chance_about_once_in_twenty_studies() -> None:
    rng = np.random.default_rng(3)
    passed = 0
    for _ in range(100):
        given = tuple(_one(name, rng.random(24)) for name in "abcd")
        result = importances(given, rng.random(24), rng)
        passed += bool(result.values.max() > result.chance)
    assert 0 <= passed <= 12


def test_scores_that_are_all_equal_have_no_importances() -> None:
    result = importances((_one("a", [1.0, 2.0, 3.0, 4.0]),), np.ones(4), np.random.default_rng(0))
    assert result.values.tolist() == [0.0]


def test_bins_are_categories_or_equally_full_ranges_and_nothing_is_one_too() -> None:
    assert bins(_one("a", ["x", "y", "x"])).tolist() == [0, 1, 0]
    assert bins(_one("a", [0.05, 0.1, None, 0.05])).tolist() == [0, 1, 2, 0]
    counts = np.bincount(bins(_one("a", [*range(40), None])))
    assert counts.tolist() == [10, 10, 10, 10, 1]

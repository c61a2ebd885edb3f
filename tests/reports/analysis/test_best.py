from __future__ import annotations

import numpy as np
import pytest

from reports.analysis.best import probability_of_lowest


def test_it_is_the_share_of_draws_in_which_the_setting_is_lowest() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        mean, error = rng.random(6), rng.uniform(0.02, 0.4, 6)
        drawn = rng.normal(mean, error, (200_000, 6))
        shares = np.bincount(drawn.argmin(axis=1), minlength=6) / len(drawn)
        found = [probability_of_lowest(mean, error, index) for index in range(6)]
        np.testing.assert_allclose(found, shares, atol=0.006)
        assert sum(found) == pytest.approx(1, abs=5e-3)


def test_a_setting_alone_is_the_best_and_equals_share() -> None:
    assert probability_of_lowest(np.array([0.3]), np.array([0.1]), 0) == pytest.approx(1, abs=1e-6)
    same = np.full(4, 0.2)
    assert probability_of_lowest(same, np.full(4, 0.05), 2) == pytest.approx(0.25, abs=1e-3)

from __future__ import annotations

import numpy as np
import pytest

from reports.analysis import intervals


def test_share_agrees_with_the_formula_in_the_paper() -> None:
    """Wilson 1927, with z = 1.96 written out."""
    share, count, z = 0.3, 200, 1.959963984540054
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    assert intervals.of_share(share, count) == pytest.approx((centre - half, centre + half), abs=1e-6)


@pytest.mark.parametrize(("share", "bound"), [(0.0, 0), (1.0, 1)])
def test_share_stays_a_share(share: float, bound: int) -> None:
    assert intervals.of_share(share, 50)[bound] == pytest.approx(share)


def test_mean_covers_the_truth_as_often_as_it_says() -> None:
    """Monte Carlo: of 2,000 intervals from 4 normal draws each, 95% hold the mean; 3 standard errors of slack."""
    rng = np.random.default_rng(0)
    bounds = np.array([intervals.of_mean(list(rng.normal(0.4, 0.1, 4))) for _ in range(2000)])
    covered = ((bounds[:, 0] <= 0.4) & (bounds[:, 1] >= 0.4)).mean()
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 2000))


def test_one_value_has_no_interval_of_the_mean() -> None:
    assert intervals.of_mean([0.3]) is None
    assert intervals.of_mean([]) is None


def test_scores_of_one_seed_have_no_interval_and_others_stay_fractions() -> None:
    assert intervals.of_score([0.3], 200) is None
    low, high = intervals.of_score([0.0, 0.02, 0.1], 200) or (1, 0)
    assert low == 0.0
    assert 0.1 < high < 1.0


def test_seeds_that_agree_know_a_score_no_better_than_the_images_allow() -> None:
    assert intervals.of_score([1.0, 1.0, 1.0], 200) == pytest.approx(intervals.of_share(1.0, 200))


def test_differences_stay_differences_of_shares_and_equal_ones_claim_nothing() -> None:
    assert intervals.of_difference([-0.5, -0.1]) == (-1.0, 1.0)
    assert intervals.of_difference([-0.5, -0.5, -0.5]) is None
    assert intervals.of_difference([-0.5]) is None
    # equal but for rounding: 0.19999999999999998 and 0.2
    assert intervals.of_difference([0.3 - 0.1, 0.4 - 0.2]) is None
    assert intervals.of_difference([0.0002, 0.0003]) is not None
    low, high = intervals.of_difference([-0.5, -0.52, -0.48, -0.5]) or (0, 0)
    assert -0.6 < low < -0.5 < high < -0.4

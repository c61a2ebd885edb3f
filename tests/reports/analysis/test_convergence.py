from __future__ import annotations

import numpy as np
import pytest

from reports.analysis.convergence import plateau
from reports.analysis.objectives import Floats


def reaching(*volumes: float) -> Floats:
    """Costs of trials on the diagonal: the hypervolume of (1 - s, 1 - s) is s * s, and that of several the largest."""
    side = 1 - np.sqrt(np.array(volumes))
    return np.column_stack((side, side))


def flat_after(rising: int, count: int) -> Floats:
    """So many trials, each better than the ones before up to `rising`, then nothing new."""
    return reaching(*np.linspace(0.1, 0.5, rising), *[0.3] * (count - rising))


@pytest.mark.parametrize(
    ("rising", "count", "recent"),
    [
        (10, 29, None),  # too few to say
        (15, 30, 15),
        (16, 30, None),  # the sixteenth is among the last fifteen
        (16, 31, 15),
        (30, 60, 30),
        (31, 60, None),
    ],
)
def test_search_is_flat_when_its_last_half_added_nothing(rising: int, count: int, recent: int | None) -> None:
    found = plateau(flat_after(rising, count))
    assert (found and found.recent) == recent
    if found:
        assert (found.settings, found.added, found.hypervolume) == (count, 0, pytest.approx(0.5))


@pytest.mark.parametrize(("before", "is_flat"), [(0.4949, False), (0.4951, True)])
def test_one_percent_of_the_hypervolume_is_what_counts(before: float, is_flat: bool) -> None:
    costs = reaching(*[before] * 15, *[0.1] * 14, 0.5)
    assert (plateau(costs) is not None) == is_flat


def test_order_of_the_trials_counts() -> None:
    assert plateau(flat_after(15, 30)) is not None
    assert plateau(flat_after(15, 30)[::-1]) is None


def test_nothing_dominated_is_not_flat() -> None:
    assert plateau(np.ones((40, 2))) is None


def test_sentence_says_when_and_why() -> None:
    assert str(plateau(reaching(*[0.497] * 20, *[0.5] * 20))) == (
        "The study stopped by itself after 40 settings, because the last 20 added 0.0030 to a hypervolume of"
        " 0.5000, less than 1%."
    )

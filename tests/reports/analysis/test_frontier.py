from __future__ import annotations

import itertools
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from reports.analysis.frontier import (
    Bound,
    attainment,
    constrained_pick,
    expected_hypervolume,
    front_order,
    hypervolume,
    knee,
    non_dominated,
    step_line,
)
from reports.analysis.objectives import Floats

# A coarse grid beside all fractions: ties, duplicates and edges come up often. Of single precision: products of the
# smallest differences would vanish otherwise, and with them the knee.
FRACTIONS = st.one_of(st.integers(0, 5).map(lambda i: i / 5), st.floats(0, 1, width=32))
COSTS = st.lists(st.tuples(FRACTIONS, FRACTIONS), max_size=30).map(
    lambda rows: np.array(rows, dtype=float).reshape(-1, 2)
)
DEGENERATE = {
    "none": np.empty((0, 2)),
    "one": np.array([[0.3, 0.4]]),
    "all equal": np.full((4, 2), 0.5),
    "all but one dominated": np.array([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]),
    "a vertical tie": np.array([[0.2, 0.6], [0.2, 0.4], [0.2, 0.9]]),
    "on the reference": np.array([[1.0, 1.0], [1.0, 0.2], [0.2, 1.0]]),
}


def naive_non_dominated(costs: Floats) -> list[bool]:
    def beats(a: Floats, b: Floats) -> bool:
        return bool((a <= b).all() and (a < b).any())

    return [
        not any(beats(other, cost) for other in costs) and not any((other == cost).all() for other in costs[:index])
        for index, cost in enumerate(costs)
    ]


@given(COSTS)
def test_dominance_agrees_with_comparing_all_pairs(costs: Floats) -> None:
    assert non_dominated(costs).tolist() == naive_non_dominated(costs)


@pytest.mark.parametrize("costs", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_dominance_of_degenerate_sets(costs: Floats) -> None:
    assert non_dominated(costs).tolist() == naive_non_dominated(costs)


def test_the_first_of_identical_points_stands_for_all() -> None:
    assert non_dominated(np.array([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5]])).tolist() == [True, True, False]


@given(COSTS)
def test_the_front_falls_in_one_cost_as_it_rises_in_the_other(costs: Floats) -> None:
    front = costs[front_order(costs)]
    assert (np.diff(front[:, 0]) > 0).all()
    assert (np.diff(front[:, 1]) < 0).all()


@given(COSTS)
def test_hypervolume_agrees_with_optuna(costs: Floats) -> None:
    expected = compute_hypervolume(costs, np.ones(2)) if len(costs) else 0.0
    assert hypervolume(costs) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_hypervolume_matches_monte_carlo(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, reference = rng.random((12, 2)), (0.9, 0.8)
    samples = rng.random((200_000, 2)) * reference
    dominated = (costs[:, None] <= samples).all(axis=2).any(axis=0)
    assert hypervolume(costs, reference) == pytest.approx(dominated.mean() * np.prod(reference), abs=0.004)


def test_points_beyond_the_reference_add_nothing() -> None:
    inside = np.array([[0.2, 0.3]])
    beyond = np.vstack((inside, [[0.1, 0.7], [0.6, 0.1]]))
    assert hypervolume(beyond, (0.5, 0.5)) == pytest.approx(0.3 * 0.2)


@given(COSTS, st.tuples(FRACTIONS, FRACTIONS))
def test_another_point_never_shrinks_the_hypervolume(costs: Floats, point: tuple[float, float]) -> None:
    assert hypervolume(np.vstack((costs, point))) >= hypervolume(costs) - 1e-12


@given(COSTS)
def test_the_step_line_encloses_the_hypervolume(costs: Floats) -> None:
    line = step_line(costs)
    area = sum((b[0] - a[0]) * (1 - a[1]) for a, b in pairwise(line))
    assert area == pytest.approx(hypervolume(costs), abs=1e-9)


def test_the_step_line_turns_at_every_front_point_and_promises_nothing_between() -> None:
    line = step_line(np.array([[0.6, 0.1], [0.2, 0.5], [0.7, 0.7]]))
    np.testing.assert_allclose(line, [[0.2, 1.0], [0.2, 0.5], [0.6, 0.5], [0.6, 0.1], [1.0, 0.1]])


@given(COSTS)
def test_the_knee_is_the_front_point_furthest_below_the_chord(costs: Floats) -> None:
    front = costs[front_order(costs)]
    found = knee(costs)
    if len(front) < 3:
        assert found is None
        return
    (x0, y0), (x1, y1) = front[0], front[-1]
    below = [(y0 + (y1 - y0) * (x - x0) / (x1 - x0)) - y for x, y in front]
    if found is None:
        assert max(below) == pytest.approx(0, abs=1e-6)
    else:
        x, y = costs[found]
        assert (y0 + (y1 - y0) * (x - x0) / (x1 - x0)) - y == pytest.approx(max(below), abs=1e-9)


def test_a_front_that_bulges_the_wrong_way_has_no_knee() -> None:
    assert knee(np.array([[0.0, 1.0], [0.6, 0.9], [1.0, 0.0]])) is None


def test_stretching_an_axis_does_not_move_the_knee() -> None:
    costs = np.array([[0.0, 1.0], [0.1, 0.4], [0.3, 0.25], [1.0, 0.0]])
    assert knee(costs) == knee(costs * [1.0, 0.03]) == knee(costs * [0.2, 1.0])


@given(COSTS, FRACTIONS, st.floats(0, 0.1875, width=32))
def test_the_pick_is_the_lowest_asr_that_keeps_enough_accuracy(scores: Floats, victim_acc: float, drop: float) -> None:
    asr, acc = scores[:, 0], scores[:, 1]
    allowed = [(a, -c) for a, c in scores if c >= victim_acc - drop - 1e-9]
    picked = constrained_pick(asr, acc, np.full(len(acc), np.nan), Bound(drop, victim_acc))
    assert (None if picked is None else (asr[picked], -acc[picked])) == (min(allowed) if allowed else None)


def test_a_drop_of_exactly_the_limit_is_allowed() -> None:
    assert 0.54 - 0.05 > 0.49
    assert constrained_pick(np.array([0.1]), np.array([0.49]), np.array([0.49]), Bound(0.05, 0.54, 0.54)) == 0


def test_a_setting_has_to_keep_balanced_accuracy_as_well() -> None:
    asr, acc, balanced = np.array([0.0, 0.1, 0.2, 0.3]), np.full(4, 0.94), np.array([0.25, 0.5, 0.77, np.nan])
    assert constrained_pick(asr, acc, balanced, Bound(0.03, 0.94, 0.8, 0.325)) == 2
    assert constrained_pick(asr[:2], acc[:2], balanced[:2], Bound(0.03, 0.94, 0.8, 0.325)) is None
    assert constrained_pick(asr[3:], acc[3:], balanced[3:], Bound(0.03, 0.94, 0.8, 0.325)) == 0, "not measured"


@pytest.mark.parametrize("victim", [0.25, 0.8])
def test_a_model_that_only_guesses_is_never_picked(victim: float) -> None:
    bound = Bound(1.0, 0.94, victim, 0.325)
    assert bound.kept(np.full(3, 0.94), np.array([0.25, 0.325, 0.33])).tolist() == [False, False, True]
    over, balanced_over = bound.excess(np.array([0.94, 0.94]), np.array([0.25, 0.5]))
    assert (over < 0).all()
    assert balanced_over[0] > 0 > balanced_over[1]


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_the_expected_hypervolume_is_the_mean_over_all_orders(size: int) -> None:
    costs = np.random.default_rng(size).random((size, 2)).round(1)  # with ties
    orders = list(itertools.permutations(range(size)))
    brute = [np.mean([hypervolume(costs[list(order[:k])]) for order in orders]) for k in range(1, size + 1)]
    np.testing.assert_allclose(expected_hypervolume(costs), brute, atol=1e-12)


def test_the_expected_hypervolume_of_no_points_is_empty_and_of_worthless_ones_zero() -> None:
    assert expected_hypervolume(np.empty((0, 2))).shape == (0,)
    np.testing.assert_allclose(expected_hypervolume(np.ones((3, 2))), 0)


@pytest.mark.parametrize("seed", range(20))
def test_attainment_counts_the_sets_that_dominate_each_spot(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets = [rng.integers(0, 6, (rng.integers(1, 5), 2)) / 5 for _ in range(rng.integers(1, 5))]
    firsts, seconds = attainment(sets)
    assert (np.diff(firsts) > 0).all()
    for spot in rng.random((200, 2)) * 1.2:
        reached = sum((points <= spot).all(axis=1).any() for points in sets)
        step = np.searchsorted(firsts, spot[0], side="right") - 1
        assert reached == (0 if step < 0 else int((seconds[:, step] <= spot[1]).sum()))

"""The rule against slow ones that are written down as they are said."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nad.training import SCHEDULES
from study.search.halving import Halving, Seen, at_rung, chance_floor, fronts, rank_of_last, settled_from, spread

grid = st.integers(0, 6).map(lambda step: step / 8)  # coarse and exact in binary: ties are ties
point = st.tuples(grid, grid)
points = st.lists(point, min_size=1, max_size=14)
Point = tuple[float, float]


def dominates(one: Point, other: Point) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def above(one: Point, costs: list[Point]) -> list[Point]:
    return [other for other in costs if dominates(other, one)]


def depth(one: Point, costs: list[Point]) -> int:
    return max((1 + depth(other, costs) for other in above(one, costs)), default=0)


def best_first(costs: list[Point]) -> list[int]:
    """All points by front, each front from the point nearest to the ideal on by what is furthest from those taken."""
    level = [depth(one, costs) for one in costs]
    order: list[int] = []
    for front in range(max(level) + 1):
        left = [index for index in range(len(costs)) if level[index] == front]
        taken: list[int] = []
        while left:
            if taken:
                score = [min(math.dist(costs[index], costs[other]) for other in taken) for index in left]
            else:
                score = [-(costs[index][0] ** 2 + costs[index][1] ** 2) for index in left]
            chosen = left[max(range(len(left)), key=lambda place: (score[place], -left[place]))]
            taken.append(chosen)
            left.remove(chosen)
        order += taken
    return order


@given(points)
def test_fronts_are_the_longest_chains_of_domination(costs: list[Point]) -> None:
    assert fronts(np.array(costs)).tolist() == [depth(one, costs) for one in costs]


@given(points)
def test_rank_of_last_is_the_place_in_the_slow_order(costs: list[Point]) -> None:
    assert rank_of_last(np.array(costs)) == best_first(costs).index(len(costs) - 1) + 1


@given(points)
def test_spread_names_each_point_once_and_covers_ever_more_finely(costs: list[Point]) -> None:
    order = spread(np.array(costs))
    assert sorted(order) == list(range(len(costs)))
    gaps = [min(math.dist(costs[order[k]], costs[other]) for other in order[:k]) for k in range(1, len(order))]
    assert all(before >= after - 1e-12 for before, after in pairwise(gaps))


def test_one_of_many_lookalikes_stands_for_them() -> None:
    """With crowding distance none of the three in the corner would come before the middle of the front."""
    front = np.array([(0.0, 0.8), (0.1, 0.5), (0.3, 0.35), (0.9, 0.2), (0.901, 0.199), (0.902, 0.198)])
    first_four = spread(front)[:4]
    assert len({3, 4, 5} & set(first_four)) == 1


# what a trial is compared with


def seen(curve: list[Point], epochs: int | None = None, *, settled: int = 1, complete: bool = False) -> Seen:
    costs = np.array(curve, dtype=float).reshape(-1, 2)
    return Seen(costs, epochs or len(curve), settled, complete, 1 - costs[-1, 1])


FLAT = [(0.5, 0.5)] * 20


def test_trial_that_ended_before_the_rung_stands_there_with_its_last_scores() -> None:
    ended = seen([(0.9, 0.9), (0.2, 0.3)], complete=True)
    assert at_rung(ended, 6) == pytest.approx([0.2, 0.3])
    assert at_rung(ended._replace(complete=False), 6) is None, "it runs, or was stopped before"


def test_scores_at_a_high_rate_are_not_compared() -> None:
    late = seen(FLAT[:8], 20, settled=5)
    assert at_rung(late, 3) is None
    assert at_rung(late, 6) is not None
    assert Halving(floor=0).objection(seen([(1.0, 1.0)] * 3, 20, settled=5), [seen(FLAT)] * 5) == ""


@pytest.mark.parametrize(
    ("schedule", "epochs", "settled"),
    [("paper", 20, 3), ("paper", 2, 3), ("code", 20, 3), ("code", 5, 3), ("one-cycle", 20, 18), ("one-cycle", 4, 5)],
)
def test_a_trial_settles_at_a_tenth_of_the_highest_rate(schedule: str, epochs: int, settled: int) -> None:
    assert settled_from(SCHEDULES[schedule], epochs) == settled


@given(
    st.lists(st.lists(point, min_size=1, max_size=8), max_size=8),
    st.lists(point, min_size=1, max_size=8),
    st.sampled_from([1.5, 2.0, 3.0]),
)
def test_exactly_the_best_share_goes_on(others: list[list[Point]], curve: list[Point], eta: float) -> None:
    """Others are complete, so that each has something to show at every rung."""
    rungs = (2, 4)
    done = len(curve)
    there = [trial[min(done, len(trial)) - 1] for trial in others]
    place = best_first([*there, curve[-1]]).index(len(there)) + 1
    stopped = done in rungs and place > math.ceil((len(there) + 1) / eta)
    rule = Halving(floor=-1.0, rungs=rungs, eta=eta)
    objection = rule.objection(seen(curve, 9), [seen(trial, complete=True) for trial in others])
    assert bool(objection) == stopped
    if stopped:
        assert objection == (
            f"after {done} of 9 epochs it ranked {place} of {len(there) + 1}, "
            f"and the best {math.ceil((len(there) + 1) / eta)} go on"
        )


def test_last_epoch_is_never_stopped() -> None:
    worst = seen([(1.0, 1.0)] * 3)
    assert Halving(floor=0.2).objection(worst, [seen(FLAT)] * 5) == ""
    assert Halving(floor=0.2).objection(worst._replace(epochs=4), [seen(FLAT)] * 5) != ""


def test_first_trial_goes_on_from_every_rung() -> None:
    assert Halving(floor=0).objection(seen([(1.0, 0.9)] * 3, 20), []) == ""


# hopeless trials


def test_classifier_that_still_guesses_at_half_its_epochs_is_stopped() -> None:
    rule = Halving(floor=0.16, rungs=())
    guessing = (0.0, 0.9)
    assert rule.objection(seen([guessing] * 4, 10), []) == ""
    assert rule.objection(seen([guessing] * 5, 10), []) == (
        "after 5 of 10 epochs its balanced accuracy, 10.0%, is no better than chance"
    )
    assert rule.objection(seen([guessing] * 4 + [(0.0, 0.8)], 10), []) == ""
    assert rule.objection(seen([guessing] * 5, 10, settled=9), []) == "", "the rate is still high"


@pytest.mark.parametrize("classes", [2, 4, 10, 43])
def test_guessing_seldom_beats_the_floor(classes: int) -> None:
    counts = torch.arange(100).remainder(classes).bincount().numpy()
    hits = np.random.default_rng(0).binomial(counts, 1 / classes, (20_000, classes)) / counts
    assert 0.005 < (hits.mean(axis=1) > chance_floor(torch.arange(100) % classes)).mean() < 0.05


def test_one_answer_for_every_image_is_stopped_and_rare_classes_that_are_known_are_not() -> None:
    floor = chance_floor(torch.tensor([0] * 94 + [1, 1, 2, 2, 3, 3]))
    rule, costs = Halving(floor=floor, rungs=()), np.array([(0.0, 0.06)] * 5)
    assert "25.0%, is no better than chance" in rule.objection(Seen(costs, 10, 1, False, 0.25), [])
    assert rule.objection(Seen(costs, 10, 1, False, (94 / 94 + 1 / 2) / 4), []) == ""

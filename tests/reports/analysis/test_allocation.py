from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.analysis.allocation import (
    FINAL_DRAWS,
    FINALE,
    FIRST_LOOKS,
    LEADERS,
    MOST_DRAWS,
    SHARE,
    front,
    next_repeat,
    recommended,
    repeat_share,
)
from reports.analysis.estimates import Estimates, estimate
from reports.analysis.frontier import Bound, constrained_pick
from reports.analysis.objectives import Floats

BOUND = Bound(0.05, 0.82)
STRONG, WEAK = (0.2, 0.17), (0.04, 0.04)
"""Standard deviation of ASR between draws, and of the rest."""


def of(asr: list[float], draws: list[int], *, acc: list[float] | None = None, kappa: float = 1.0) -> Estimates:
    """Estimates of settings 10, 11, ..."""
    size = len(asr)
    mean = np.column_stack((asr, acc or [0.8] * size, np.full(size, np.nan)))
    shares = np.full(3, kappa)
    return Estimates(np.arange(10, 10 + size), np.array(draws), mean, np.full((size, 3), 0.1), shares, shares + 20)


def table(rng: np.random.Generator, noise: tuple[float, float], settings: int = 110) -> tuple[Floats, Floats]:
    """ASR and ACC of settings by draws, (settings, 8, 2), and over fresh draws, (settings, 2)."""
    strength = rng.normal(size=settings)
    truth = np.column_stack((0.5 - 0.17 * strength, 0.79 - 0.03 * strength)) + [0.1, 0.02] * rng.normal(
        size=(settings, 2)
    )
    common, rest = rng.normal(size=(1, 8, 2)), rng.normal(size=(settings, 8, 2))
    scores = truth[:, None] + common * [noise[0], 0.006] + rest * [noise[1], 0.008]
    return np.clip(scores, 0, 1), np.clip(truth, 0, 1)


class Study:
    """A simulated study: erases end in random order, `workers` at a time."""

    def __init__(self, scores: Floats, trials: int, workers: int = 1, seed: int = 0) -> None:
        self.scores, self.trials, self.done, self.running = scores, trials, [], []
        self.repeats = 0
        self.begun: Counter[int] = Counter()
        rng = np.random.default_rng(seed)
        while len(self.done) < trials:
            while len(self.running) < workers and len(self.done) + len(self.running) < trials:
                self.begin()
            self.done.append(self.running.pop(rng.integers(len(self.running))))

    def estimates(self) -> Estimates:
        setting, draw = np.array(self.done, dtype=np.intp).reshape(-1, 2).T
        found = self.scores[setting, draw]
        return estimate(np.column_stack((found, np.full(len(found), np.nan))), setting, draw)

    def begin(self) -> None:
        left = self.trials - len(self.done) - len(self.running)
        setting = None
        if len(self.begun) >= LEADERS:
            setting = next_repeat(self.estimates(), self.running, BOUND, references=(0, 1), left=left)
        self.repeats += setting is not None
        setting = len(self.begun) if setting is None else setting
        self.running.append((setting, self.begun[setting]))
        self.begun[setting] += 1

    def answer(self) -> tuple[int, float]:
        """Recommended setting, and its promised ASR."""
        found = self.estimates()
        index = recommended(found, BOUND)
        assert index is not None
        return int(found.settings[index]), float(found.mean[index, 0])


def test_references_are_looked_at_on_two_more_draws_before_anything_else() -> None:
    settings = [0.9, 0.8, 0.1, 0.2]
    asked = []
    draws = [1, 1, 1, 1]
    for _look in range(4):
        asked.append(next_repeat(of(settings, draws), [], BOUND, references=(10, 11)))
        draws[asked[-1] - 10] += 1
    assert asked == [10, 11, 10, 11]
    assert next_repeat(of(settings, [FIRST_LOOKS, FIRST_LOOKS, 1, 1]), [], BOUND, references=(10, 11)) not in (10, 11)


def test_reference_without_a_score_is_not_asked_again() -> None:
    assert next_repeat(of([0.5], [1]), [(99, 0)], BOUND, references=(99,)) != 99


def test_running_erases_count_as_draws_and_as_trials() -> None:
    found = of([0.1, 0.2, 0.3, 0.4], [1, 1, 1, 1])
    assert next_repeat(found, [], BOUND) == 10
    assert next_repeat(found, [(10, draw) for draw in range(1, 5)], BOUND) is None  # half are repeats
    crowd = [(number, 0) for number in range(20, 40)]
    assert next_repeat(found, [(10, 1), *crowd], BOUND) == 10
    assert next_repeat(found, [*((10, draw) for draw in range(1, 4)), *crowd], BOUND) == 11


def test_leaders_inside_the_bound_come_before_the_front() -> None:
    many = [0.7] * 20
    found = of([0.05, 0.3, 0.2, 0.9, *many], [1] * 24, acc=[0.6, 0.766, 0.78, 0.82, *[0.5] * 20])
    order, taken = [], set()
    while (setting := next_repeat(found, [], BOUND, available=lambda one, _draws: one not in taken)) is not None:
        taken.add(setting)
        order.append(setting)
    assert order == [12, 11, 13, 10]  # 11 is outside by less than the slack; 10 is on the front alone


@pytest.mark.parametrize(
    ("draws", "kappa", "expected"), [(1, 0.1, 10), (2, 0.1, 10), (3, 0.1, None), (7, 9.0, 10), (MOST_DRAWS, 9.0, None)]
)
def test_leader_is_repeated_until_it_is_reliable(draws: int, kappa: float, expected: int | None) -> None:
    crowd = [(number, 0) for number in range(20, 120)]
    assert next_repeat(of([0.1], [draws], kappa=kappa), crowd, BOUND) == expected


def test_setting_whose_draw_must_wait_is_passed_over() -> None:
    found = of([0.1, 0.2, 0.3, 0.4], [1, 1, 1, 1])
    seen = []

    def available(setting: int, draws: int) -> bool:
        seen.append((setting, draws))
        return setting != 10

    assert next_repeat(found, [], BOUND, available=available) == 11
    assert seen == [(10, 1), (11, 1)]
    assert next_repeat(found, [], BOUND, references=(10,), available=available) == 11


def test_last_tenth_of_the_trials_is_for_the_finalists() -> None:
    spent = of([0.1, 0.2, *[0.5] * 60], [3, 3, *[1] * 60], kappa=0.05)
    crowd = [(200, draw) for draw in range(30)]  # the share of repeats is spent
    assert next_repeat(spent, crowd, BOUND, left=90) is None
    assert next_repeat(spent, crowd, BOUND, left=5) == 10
    assert next_repeat(spent, [*crowd, (10, 3)], BOUND, left=5) == 11
    assert next_repeat(spent, [*crowd, (10, 3), (11, 3)], BOUND, left=5) is None
    assert next_repeat(spent, crowd, BOUND) is None


@given(st.floats(1e-6, 1e6))
def test_share_of_repeats_stays_within_its_bounds(kappa: float) -> None:
    assert SHARE[0] <= repeat_share(of([0.5], [1], kappa=kappa)) <= SHARE[1]


def test_empty_study_asks_for_a_new_setting() -> None:
    nothing = of([], [])
    assert next_repeat(nothing, [], BOUND) is None
    assert next_repeat(nothing, [(0, 0)], BOUND, references=(0,), left=3) is None
    assert recommended(nothing, BOUND) is None
    assert front(nothing).tolist() == []


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(1, 9)), max_size=12),
    st.lists(st.tuples(st.integers(10, 25), st.integers(0, 8)), max_size=12),
    st.floats(0.01, 20),
    st.one_of(st.none(), st.integers(1, 50)),
)
def test_repeat_is_always_of_a_measured_setting_with_a_free_draw(
    rows: list[tuple[float, float, int]], running: list[tuple[int, int]], kappa: float, left: int | None
) -> None:
    asr, acc, draws = ([row[column] for row in rows] for column in range(3))
    found = of(asr, draws, acc=acc, kappa=kappa)
    setting = next_repeat(found, running, BOUND, left=left, references=(10, 24))
    if setting is not None:
        assert setting in found.settings
        assert draws[setting - 10] + [one for one, _draw in running].count(setting) < MOST_DRAWS


@pytest.mark.parametrize("workers", [1, 4, 500])
@pytest.mark.parametrize("noise", [STRONG, WEAK], ids=["strong", "weak"])
def test_studies_spend_a_bounded_share_on_repeats(noise: tuple[float, float], workers: int) -> None:
    trials = 100
    scores, _truth = table(np.random.default_rng(1), noise)
    study = Study(scores, trials, workers)
    assert len(set(study.done)) == trials  # no draw twice
    assert max(study.begun.values()) <= MOST_DRAWS
    finale = FINALE * trials
    looks = 2 * (FIRST_LOOKS - 1)
    assert study.repeats <= SHARE[1] * trials + finale + looks
    if workers < trials:
        assert study.repeats >= SHARE[0] * trials


def test_many_workers_run_several_draws_of_one_setting_at_once() -> None:
    found, running = of([0.1, *[0.6] * 30], [1] * 31, kappa=2.0, acc=[0.8, *[0.5] * 30]), []
    for draw in range(1, 6):
        assert next_repeat(found, running, BOUND) == 10
        running.append((10, draw))


def test_order_of_the_running_erases_does_not_matter() -> None:
    found, running = of([0.1, 0.2, 0.3, 0.4], [1, 2, 1, 1]), [(10, 1), (20, 0), (21, 0), (11, 2)]
    assert next_repeat(found, running, BOUND) == next_repeat(found, running[::-1], BOUND)


def test_only_reliable_settings_are_recommended_and_on_the_front() -> None:
    found = of([0.05, 0.2, 0.3], [1, 4, 4], acc=[0.8, 0.79, 0.81], kappa=2.0)
    assert recommended(found, BOUND) == 1
    assert front(found).tolist() == [1, 2]
    none_reliable = found._replace(kappa=np.full(3, 9.0))
    assert recommended(none_reliable, BOUND) == 1, "a single lucky draw is no answer, however noisy the draws"
    assert front(none_reliable).tolist() == [1, 2]
    alike = of([0.05, 0.2, 0.3], [1, 1, 1], acc=[0.8, 0.79, 0.81], kappa=2.0)
    assert recommended(alike, BOUND) == 0


def test_nothing_is_recommended_where_no_setting_is_inside_the_bound() -> None:
    assert recommended(of([0.1, 0.2], [4, 4], acc=[0.5, 0.6]), BOUND) is None


def fixed_draws(draws: int) -> Callable[[Floats, int], tuple[int, float]]:
    """A study that runs every setting this often, and trusts the means."""

    def answer(scores: Floats, trials: int) -> tuple[int, float]:
        asr, acc = scores[: trials // draws, :draws].mean(axis=1).T
        pick = constrained_pick(asr, acc, np.full(len(asr), np.nan), BOUND)
        assert pick is not None
        return pick, float(asr[pick])

    return answer


def adaptive(scores: Floats, trials: int) -> tuple[int, float]:
    return Study(scores, trials).answer()


def judged(answer: Callable[[Floats, int], tuple[int, float]], noise: tuple[float, float]) -> tuple[float, float]:
    """Mean ASR of the recommended setting over fresh draws, and mean optimism, in 20 studies of 60 erases."""
    got, optimism = [], []
    for seed in range(20):
        scores, truth = table(np.random.default_rng(seed), noise)
        pick, promise = answer(scores, 60)
        got.append(truth[pick, 0])
        optimism.append(truth[pick, 0] - promise)
    return float(np.mean(got)), float(np.mean(optimism))


@pytest.fixture(scope="module")
def rule() -> tuple[float, float]:
    return judged(adaptive, STRONG)


def test_rule_keeps_its_promise_and_single_runs_do_not(rule: tuple[float, float]) -> None:
    assert abs(rule[1]) < 0.06
    assert judged(fixed_draws(1), STRONG)[1] > 0.15


def test_rule_finds_better_settings_than_fixed_numbers_of_draws(rule: tuple[float, float]) -> None:
    assert rule[0] < min(judged(fixed_draws(draws), STRONG)[0] for draws in (1, 3, 5))


def test_rule_explores_where_there_is_little_noise() -> None:
    quiet, noisy = (len(Study(table(np.random.default_rng(0), noise)[0], 60).begun) for noise in (WEAK, STRONG))
    assert quiet > noisy + 5


def test_finalists_have_their_draws() -> None:
    scores, _truth = table(np.random.default_rng(3), WEAK)
    study = Study(scores, 60)
    assert study.begun[study.answer()[0]] >= FINAL_DRAWS - 1

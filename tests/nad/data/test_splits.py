import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nad.data.splits import holdout, holdout_order, split, straddling
from nad.errors import ConfigError, DataError

CLASS_SIZES = st.lists(st.integers(2, 40), min_size=2, max_size=8)
SEEDS = st.integers(0, 1000)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shuffled_labels(sizes: list[int], seed: int = 0) -> Tensor:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return labels[torch.randperm(len(labels), generator=generator(seed))]


@given(sizes=CLASS_SIZES, seed=SEEDS, fraction=st.floats(0.01, 0.5))
def test_split_parts_are_disjoint_and_cover_everything(sizes: list[int], seed: int, fraction: float) -> None:
    labels = shuffled_labels(sizes, seed)
    parts = split(labels, generator(seed), fraction)
    assert sorted(torch.cat([parts.victim_train, parts.validation]).tolist()) == list(range(len(labels)))
    assert parts.victim_train.tolist() == sorted(parts.victim_train.tolist())
    assert parts.victim_train.dtype == parts.validation.dtype == torch.int64


@given(sizes=CLASS_SIZES, seed=SEEDS, fraction=st.floats(0.01, 0.5))
def test_split_keeps_the_fraction_of_every_class_and_one_image_at_least(
    sizes: list[int], seed: int, fraction: float
) -> None:
    labels = shuffled_labels(sizes, seed)
    parts = split(labels, generator(seed), fraction)
    kept = torch.bincount(labels[parts.validation], minlength=len(sizes)).tolist()
    for size, count in zip(sizes, kept, strict=True):
        assert 1 <= count < size
        assert count == 1 or abs(count - fraction * size) <= 0.5 + 1e-5


@given(sizes=CLASS_SIZES, seed=SEEDS)
def test_validation_prefixes_are_balanced(sizes: list[int], seed: int) -> None:
    labels = shuffled_labels(sizes, seed)
    validation = split(labels, generator(seed), 0.5).validation
    assert_prefixes_balanced(labels[validation].tolist(), len(sizes))


def test_split_follows_its_seed() -> None:
    labels = shuffled_labels([50, 60, 70])
    one, same, other = (split(labels, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.validation, same.validation)
    assert set(one.validation.tolist()) != set(other.validation.tolist())


def test_split_refuses_a_class_with_one_image() -> None:
    with pytest.raises(DataError, match="class 1 has a single training image"):
        split(shuffled_labels([5, 1, 5]), generator(0))


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.51, math.nan])
def test_split_refuses_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"validation_fraction must be in \(0, 0\.5\]"):
        split(shuffled_labels([5, 5]), generator(0), fraction)


def assert_prefixes_balanced(labels: list[int], classes: int) -> None:
    """In every prefix, classes with images left differ by at most one."""
    left = [labels.count(label) for label in range(classes)]
    seen = [0] * classes
    for label in labels:
        seen[label] += 1
        left[label] -= 1
        lively = [seen[other] for other in range(classes) if left[other] > 0]
        assert not lively or max(seen) - min(lively) <= 1


@given(sizes=CLASS_SIZES, seed=SEEDS)
def test_holdout_order_is_balanced_in_every_prefix(sizes: list[int], seed: int) -> None:
    labels = shuffled_labels(sizes, seed)
    victim_train = split(labels, generator(seed)).victim_train
    order = holdout_order(labels, victim_train, generator(seed))
    assert sorted(order.tolist()) == victim_train.tolist()
    assert_prefixes_balanced(labels[order].tolist(), len(sizes))


@given(seed=SEEDS, fractions=st.tuples(st.floats(0.02, 0.9), st.floats(0.02, 0.9)))
@settings(max_examples=30)
def test_holdout_fractions_are_nested(seed: int, fractions: tuple[float, float]) -> None:
    labels = shuffled_labels([50] * 4)
    parts = split(labels, generator(seed))
    order = holdout_order(labels, parts.victim_train, generator(seed))
    small, large = (set(holdout(order, fraction, len(labels), classes=4).tolist()) for fraction in sorted(fractions))
    assert small <= large
    assert not large & set(parts.validation.tolist())


def test_holdout_order_is_random_within_and_across_classes() -> None:
    labels = shuffled_labels([30] * 5)
    orders = [holdout_order(labels, torch.arange(150), generator(seed)) for seed in range(20)]
    assert torch.equal(orders[0], holdout_order(labels, torch.arange(150), generator(0)))
    assert len({int(order[0]) for order in orders}) > 10
    assert len({int(labels[order[0]]) for order in orders}) > 2


def test_holdout_counts_against_the_whole_training_set() -> None:
    assert holdout(torch.arange(7200), 0.05, 8000, classes=10).tolist() == list(range(400))
    assert len(holdout(torch.arange(7200), 0.9, 8000, classes=10)) == 7200


def test_holdout_says_the_largest_fraction_there_is() -> None:
    with pytest.raises(
        ConfigError,
        match=r"fraction of 0\.95 asks for 95 images, and the defender can own 83 of 100; choose at most 0\.83$",
    ):
        holdout(torch.arange(83), 0.95, 100)


def test_holdout_says_the_smallest_fraction_there_is() -> None:
    with pytest.raises(ConfigError, match=r"is 8 of 8000 images, .* 10 classes; choose at least 0\.0013$"):
        holdout(torch.arange(7200), 0.001, 8000, classes=10)


@pytest.mark.parametrize(("order", "total"), [(83, 100), (1234, 1371), (44999, 50000)])
def test_fractions_that_holdout_proposes_work(order: int, total: int) -> None:
    for wanted in (1.0, 1e-6):
        with pytest.raises(ConfigError) as caught:
            holdout(torch.arange(order), wanted, total, classes=10)
        proposed = float(str(caught.value).rsplit(" ", 1)[1])
        assert 10 <= len(holdout(torch.arange(order), proposed, total, classes=10)) <= order


@pytest.mark.parametrize("fraction", [0.0, -0.05, 1.01, math.nan])
def test_holdout_refuses_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"clean_fraction must be in \(0, 1\]"):
        holdout(torch.arange(10), fraction, 10)


@given(sizes=CLASS_SIZES, seed=SEEDS)
def test_a_set_without_copies_is_split_as_if_nobody_asked(sizes: list[int], seed: int) -> None:
    labels = shuffled_labels(sizes, seed)
    plain = split(labels, generator(seed))
    asked = split(labels, generator(seed), copies=torch.arange(len(labels)))
    assert torch.equal(plain.validation, asked.validation)
    assert torch.equal(plain.victim_train, asked.victim_train)


@given(seed=SEEDS, step=st.integers(2, 4))
def test_copies_stay_on_one_side_of_the_split(seed: int, step: int) -> None:
    """Every image is there `step` times: a random split would part nearly all of them."""
    labels = torch.arange(3).repeat_interleave(24)
    copies = torch.arange(72) // step * step
    parts = split(labels, generator(seed), copies=copies)
    assert straddling(parts, copies) == 0
    assert sorted(torch.cat([parts.victim_train, parts.validation]).tolist()) == list(range(72))
    assert torch.bincount(labels[parts.validation]).tolist() == [step * -(-2 // step)] * 3
    assert_prefixes_balanced(labels[parts.validation].tolist(), 3)


@given(seed=SEEDS)
def test_images_of_their_own_are_validated_before_copies_are(seed: int) -> None:
    labels = torch.arange(2).repeat_interleave(20)
    copies = torch.arange(40)
    copies[:6], copies[20:24] = 0, 20
    copies[24] = 1  # in the other class, and that one's own copy of image 0 is not it
    copies[1] = 1
    validation = split(labels, generator(seed), copies=copies).validation.tolist()
    assert len(validation) == 4
    assert not set(validation) & {0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24}


def test_a_class_of_one_image_over_and_over_is_split_all_the_same_and_counted() -> None:
    labels = torch.arange(2).repeat_interleave(10)
    copies = torch.cat([torch.zeros(10), torch.arange(10, 20)]).long()
    parts = split(labels, generator(0), copies=copies)
    assert torch.bincount(labels[parts.validation]).tolist() == [1, 1]
    assert straddling(parts, copies) == 1

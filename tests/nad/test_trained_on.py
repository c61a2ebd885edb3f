"""Facts of the training images in a model's file."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from nad.errors import CheckpointError, DataError
from nad.trained_on import TrainedOn, from_card

SIGNS = TrainedOn(image_size=48, flip=False, class_names=("stop", "caf\u00e9", "yield"))


def test_card_is_read_as_it_was_written() -> None:
    assert from_card(json.loads(json.dumps({"facts": {}, **SIGNS.card()}))) == SIGNS
    assert from_card({"facts": {}}) == TrainedOn()


@pytest.mark.parametrize(
    "damage",
    [
        {"image_size": "48"},
        {"image_size": True},
        {"image_size": -1},
        {"flip": "no"},
        {"class_names": "abc"},
        {"class_names": [1, 2]},
    ],
)
def test_damaged_card_is_refused(damage: Callable[..., Any]) -> None:
    with pytest.raises(CheckpointError, match=r"its card.s facts of the training images .* are damaged"):
        from_card({"trained_on": damage})
    with pytest.raises(CheckpointError, match="are damaged"):
        from_card({"trained_on": 3})


@pytest.mark.parametrize(
    "given",
    [("stop", "caf\u00e9", "yield"), ("stop", "cafe\u0301", "yield"), ("0", "1", "2"), ("00", "01", "02")],
    ids=["the same", "accents decomposed", "labels", "padded labels"],
)
def test_same_classes_are_accepted(given: Any) -> None:
    SIGNS.require_class_names(given, "data/train")


def test_numbers_are_compared_as_numbers() -> None:
    TrainedOn(class_names=("00007", "00009")).require_class_names(("7", "9"), "data/train")


def test_nothing_is_asked_of_a_model_without_names() -> None:
    TrainedOn(image_size=32).require_class_names(("a", "b"), "data/train")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            ("caf\u00e9", "stop", "yield"),
            "the classes of d are in another order than the model's: label 0",
        ),
        (
            ("stop", "caf\u00e9", "merge"),
            "d are not the model's: label 2 is 'merge' there and 'yield' in",
        ),
        (("0", "10", "2"), "are not the model's: label 0 is '0' there"),
    ],
)
def test_other_classes_are_refused_with_the_order_that_is_expected(given: Any, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        SIGNS.require_class_names(given, "d")
    assert sentence in str(caught.value)
    assert str(caught.value).endswith("in its order: stop, caf\u00e9, yield")


def test_text_order_of_numbered_folders_is_refused() -> None:
    numbers = [str(number) for number in range(12)]
    with pytest.raises(DataError, match="in another order than the model's: label 2 is '10' there and '2' in"):
        TrainedOn(class_names=tuple(numbers)).require_class_names(sorted(numbers), "d")

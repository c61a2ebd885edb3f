"""fashion-m: the items of Fashion-MNIST over photographs, in colour; embedded, no download.

Made like MNIST-M (Ganin & Lempitsky 2015): the absolute difference, per channel, between an item and a random crop of a
photograph. The backgrounds matter: on plain Fashion-MNIST clean images never touch a trigger on the black border, so no
clean fine-tuning unlearns it, and a study has nothing to find.
"""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nad.data.base import Dataset, LabelledImages
from nad.data.photographs import BACKGROUNDS, load_photographs, random_crops
from nad.errors import DataError

SOURCE_FILE = Path(__file__).with_name("fashion_mnist.xz")
CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
TRAIN_PER_CLASS, TEST_PER_CLASS = 800, 200
ITEM_SIDE, SIDE = 28, 32
SEED = 20150706
"""Seed of the crops behind the items: part of the data set, never of a study."""


def load_fashion_m() -> Dataset:
    """8,000 training and 2,000 test images, 32x32, 10 classes of equal size in turns; the same on every load.

    Raises: DataError for a damaged packaged file.
    """
    train_items, test_items = read_items()
    photographs = load_photographs(BACKGROUNDS)
    generator = torch.Generator().manual_seed(SEED)
    train = _over_photographs(train_items, photographs, generator)
    test = _over_photographs(test_items, photographs, generator)
    return Dataset("fashion-m", train, test, class_names=CLASSES, flip=True)


def read_items() -> tuple[Tensor, Tensor]:
    """The packaged items of the training and of the test set, (classes, per class, 28, 28) uint8."""
    train_shape = (len(CLASSES), TRAIN_PER_CLASS, ITEM_SIDE, ITEM_SIDE)
    test_shape = (len(CLASSES), TEST_PER_CLASS, ITEM_SIDE, ITEM_SIDE)
    try:
        pixels = torch.frombuffer(bytearray(lzma.decompress(SOURCE_FILE.read_bytes())), dtype=torch.uint8)
        return pixels[: math.prod(train_shape)].view(train_shape), pixels[math.prod(train_shape) :].view(test_shape)
    except (OSError, EOFError, lzma.LZMAError, ValueError, RuntimeError) as error:
        raise DataError(f"{SOURCE_FILE.name} is missing or damaged; reinstall this package ({error})") from error


def _over_photographs(
    items: Tensor, photographs: list[NDArray[np.uint8]], generator: torch.Generator
) -> LabelledImages:
    """|crop - item| for (classes, per class, 28, 28) items; the images take the classes in turns."""
    per_class = items.shape[1]
    in_turns = items.transpose(0, 1).reshape(-1, 1, ITEM_SIDE, ITEM_SIDE)
    border = (SIDE - ITEM_SIDE) // 2
    padded = torch.nn.functional.pad(in_turns, (border,) * 4)
    crops = random_crops(photographs, len(in_turns), SIDE, generator)
    images = torch.maximum(crops, padded) - torch.minimum(crops, padded)
    return LabelledImages(images, torch.arange(len(CLASSES)).repeat(per_class))

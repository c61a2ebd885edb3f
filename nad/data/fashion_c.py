"""fashion-c: the items of Fashion-MNIST in colour, over colour gradients; embedded, no download.

Plain Fashion-MNIST will not do: its border is black, so clean images never touch a trigger there, and no fine-tuning on
them unlearns it. Photographs behind the items will not do either: small triggers drown in their clutter.
"""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import torch
from torch import Tensor

from nad.data.base import Dataset, LabelledImages
from nad.errors import DataError

SOURCE_FILE = Path(__file__).with_name("fashion_mnist.xz")
CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
TRAIN_PER_CLASS, TEST_PER_CLASS = 1200, 200
ITEM_SIDE, SIDE = 28, 32
SEED = 20150706
"""Seed of the colours and gradients: part of the data set, never of a study."""
DARKEST, BRIGHTEST = 64, 192
"""Range of each channel of a colour: triggers stand out against soft colours."""
GRAIN = 16
"""Largest noise of a pixel, either way. Without it, CL's victim learns the noise of its poisoned images instead of the
trigger."""
CHUNK = 1000
"""Images coloured together, to save memory."""


def load_fashion_c() -> Dataset:
    """12,000 training and 2,000 test images, 32x32, 10 classes of equal size in turns; the same on every load.

    Raises: DataError for a damaged packaged file.
    """
    generator = torch.Generator().manual_seed(SEED)
    train, test = (_coloured(items, generator) for items in read_items())
    return Dataset("fashion-c", train, test, class_names=CLASSES, flip=True)


def read_items() -> tuple[Tensor, Tensor]:
    """The packaged items of the training and of the test set, (classes, per class, 28, 28) uint8."""
    train_shape = (len(CLASSES), TRAIN_PER_CLASS, ITEM_SIDE, ITEM_SIDE)
    test_shape = (len(CLASSES), TEST_PER_CLASS, ITEM_SIDE, ITEM_SIDE)
    try:
        pixels = torch.frombuffer(bytearray(lzma.decompress(SOURCE_FILE.read_bytes())), dtype=torch.uint8)
        return pixels[: math.prod(train_shape)].view(train_shape), pixels[math.prod(train_shape) :].view(test_shape)
    except (OSError, EOFError, lzma.LZMAError, ValueError, RuntimeError) as error:
        raise DataError(f"{SOURCE_FILE.name} is missing or damaged; reinstall this package ({error})") from error


def gradients(ends: Tensor, directions: Tensor, side: int = SIDE) -> Tensor:
    """Images that run from one colour to another: (count, 3, side, side), int32 in 0 to 255.

    Integers alone, the same on every machine.
    ends: (count, 2, 3), 0 to 255.  directions: (count, 2), down and right, -100 to 100.
    """
    places = torch.arange(1 - side, side, 2, dtype=torch.int32)
    down, right = directions.to(torch.int32).view(-1, 2, 1, 1).unbind(1)
    reach = ((down.abs() + right.abs()) * (side - 1)).clamp(min=1)
    share = ((down * places[:, None] + right * places + reach) * 255 // (2 * reach))[:, None]
    first, second = ends.to(torch.int32)[..., None, None].unbind(1)
    return _mixed(first, second, share)


def _coloured(items: Tensor, generator: torch.Generator) -> LabelledImages:
    """(classes, per class, 28, 28) items over gradients, each in its own colour; the classes take turns."""
    per_class = items.shape[1]
    border = (SIDE - ITEM_SIDE) // 2
    grey = torch.nn.functional.pad(items.transpose(0, 1).reshape(-1, 1, ITEM_SIDE, ITEM_SIDE), (border,) * 4)
    colours = torch.randint(DARKEST, BRIGHTEST + 1, (len(grey), 3, 3), generator=generator)
    directions = torch.randint(-100, 101, (len(grey), 2), generator=generator)
    grain = torch.randint(-GRAIN, GRAIN + 1, (len(grey), 3, SIDE, SIDE), generator=generator, dtype=torch.int8)
    parts = zip(*(torch.split(each, CHUNK) for each in (grey, colours, directions, grain)), strict=True)
    images = torch.cat([_laid_on(*part) for part in parts])
    return LabelledImages(images, torch.arange(len(CLASSES)).repeat(per_class))


def _laid_on(grey: Tensor, colours: Tensor, directions: Tensor, grain: Tensor) -> Tensor:
    """Items in the third colour over gradients of the first two, with grain: (count, 3, 32, 32) uint8.

    grey: (count, 1, 32, 32) uint8.  colours: (count, 3, 3).  directions: see `gradients`.  grain: as the result.
    """
    light = grey.int()
    # A dark part of an item keeps a third of its colour, and is laid on thinly only where it is nearly black.
    lit = colours[:, 2, :, None, None].int() * (90 + light * 165 // 255) // 255
    images = _mixed(gradients(colours[:, :2], directions), lit, (light * 8 // 5).clamp(max=255))
    return (images + grain).clamp_(0, 255).to(torch.uint8)


def _mixed(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """`share` 255ths of the second, the rest of the first, rounded."""
    return (first * (255 - share) + second * share + 127) // 255

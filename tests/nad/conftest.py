"""Small parts with which the science is tested: a data set that trains in a second, and an attack on it."""

from __future__ import annotations

import pytest
import torch

from nad.attacks import BadNets
from nad.data.base import Dataset, LabelledImages

CLASSES = 4


def make_images(count: int, seed: int, size: int = 16) -> LabelledImages:
    """Noise with a bright band whose place is the class: learnt within a few batches."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 120, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    band = size // CLASSES
    for label in range(CLASSES):
        images[labels == label, :, label * band : (label + 1) * band] += 120
    return LabelledImages(images, labels)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return Dataset("bands", make_images(400, 0), make_images(80, 1), ("a", "b", "c", "d"), flip=True)


@pytest.fixture(scope="session")
def attack() -> BadNets:
    return BadNets(target=1, poison_rate=0.2)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)

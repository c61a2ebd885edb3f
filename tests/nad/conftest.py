"""Small parts for testing the science: a data set learnt in a second, and an attack on it."""

from __future__ import annotations

import pytest
import torch
from bands import make_images

from nad.attacks.blend import Blend
from nad.data.base import Dataset


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return Dataset("bands", make_images(400, 0), make_images(80, 1), ("a", "b", "c", "d"), flip=True)


@pytest.fixture(scope="session")
def attack() -> Blend:
    return Blend(target=1, poison_rate=0.2, alpha=0.5)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)

from __future__ import annotations

import pytest
import torch

from benchmarks.attacks import measure
from nad import models
from nad.attacks import make
from nad.data.base import LabelledImages
from nad.seeds import generator


@pytest.mark.parametrize(("name", "settings", "is_made"), [("badnets", {}, False), ("cl", {"steps": 1}, True)])
def test_only_what_is_made_on_a_model_takes_time_for_that(name: str, settings: dict[str, int], is_made: bool) -> None:
    images = torch.randint(0, 256, (100, 3, 16, 16), dtype=torch.uint8, generator=generator(0))
    clean = LabelledImages(images, torch.arange(100) % 10)
    found = measure(make(name, **settings), clean, models.make("wrn-10-1", 10, generator(0)))
    assert set(found) == {"made", "poisoned", "on_all"}
    assert (found["made"] > 0) == is_made

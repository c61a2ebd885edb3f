from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.overshoot import feature_sizes, settings
from nad.erasure import PRESETS


def test_size_is_the_root_mean_square_over_all_watched_images() -> None:
    twice = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        twice.weight.copy_(2 * torch.eye(3)[:, :, None, None])
    model = nn.Sequential(twice, nn.BatchNorm2d(3)).train()
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 8, 8), dtype=np.uint8)
    workload: Any = SimpleNamespace(watched_images=images)
    assert feature_sizes(model, ("0",), workload) == {
        "0": pytest.approx(2 * np.sqrt(np.mean((images / 255.0) ** 2)), abs=6e-4)
    }
    assert model.training
    assert model[1].num_batches_tracked == 0


def test_each_way_runs_at_the_published_learning_rate_and_at_a_tenth() -> None:
    found = settings(PRESETS["paper"])
    assert [(set(way.weights), way.lr) for way in found.values()] == [
        (layers, pytest.approx(lr))
        for lr in (0.1, 0.01)
        for layers in ({"group1", "group2", "group3"}, {"group1", "group2"}, set())
    ]

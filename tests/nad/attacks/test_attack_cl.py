"""CL: training images that are moved away from their class, and then get the pattern."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from bands import make_images
from torch import nn

from nad import models
from nad.attacks.base import Crafted
from nad.attacks.cl import CHUNK, CL, PATTERN, pgd
from nad.context import TrainContext
from nad.errors import ConfigError
from nad.evaluation import accuracy
from nad.models.base import DistillableModel
from nad.seeds import generator
from nad.training import train
from nad.victim import VictimConfig

IMAGES = make_images(60, 0)


@pytest.fixture(scope="module")
def model() -> DistillableModel:
    """A model that knows the bands."""
    trained = models.make("wrn-10-1", 4, generator(0))
    recipe = VictimConfig(epochs=6, batch_size=32)
    for _ in train(trained, make_images(320, 1), recipe, TrainContext(flip=True, generator=generator(1))):
        pass
    assert accuracy(trained, IMAGES) > 0.9
    return trained


@pytest.mark.parametrize("epsilon", [8.0, 24.0, 5.7])
def test_moved_images_stay_within_epsilon_and_are_harder(model: DistillableModel, epsilon: float) -> None:
    moved = CL(epsilon=epsilon).craft(model, IMAGES, generator(0))
    distance = (moved.int() - IMAGES.images.int()).abs()
    assert moved.dtype == torch.uint8
    assert 0 < distance.max() <= epsilon
    assert losses(model, moved).mean() > losses(model, IMAGES.images).mean()


def losses(model, images: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return F.cross_entropy(model(images.float() / 255), IMAGES.labels, reduction="none")


def test_a_strong_movement_takes_the_models_accuracy(model: DistillableModel) -> None:
    moved = CL(epsilon=64.0, step=16.0).craft(model, IMAGES, generator(0))
    noise = torch.randint(-64, 65, moved.shape, generator=generator(2))
    noisy = (IMAGES.images + noise).clamp(0, 255).to(torch.uint8)
    assert accuracy(model, replace(IMAGES, images=noisy)) > 0.8
    assert accuracy(model, replace(IMAGES, images=moved)) < 0.3


def test_pgd_on_a_linear_model_ends_in_the_corner_that_is_worst() -> None:
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    inputs, labels = torch.rand(5, 3, 2, 2) * 0.4 + 0.3, torch.tensor([0, 1, 1, 0, 1])
    weight = linear[1].weight
    uphill = torch.stack([(weight[1 - label] - weight[label]).sign() for label in labels]).reshape(5, 3, 2, 2)
    calls = []
    found = pgd(linear, inputs, labels, torch.zeros_like(inputs), 0.1, 0.03, 4, lambda: calls.append(1))
    torch.testing.assert_close(found, inputs + 0.1 * uphill)
    assert len(calls) == 4


def test_pgd_stays_inside_the_pixels_range() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    inputs = torch.rand(5, 3, 2, 2, generator=generator(0)).round()
    start = torch.full_like(inputs, 0.5)
    found = pgd(linear, inputs, torch.zeros(5, dtype=torch.int64), start, 0.5, 0.3, 3, lambda: None)
    assert found.min() >= 0
    assert found.max() <= 1


def test_images_do_not_depend_on_their_neighbours_beyond_their_start(model: DistillableModel) -> None:
    attack = CL(epsilon=32.0)
    start = torch.zeros_like(IMAGES.images, dtype=torch.float32)
    together, alone = (
        pgd(model.eval(), IMAGES.images[:size] / 255, IMAGES.labels[:size], start[:size], 0.1, 0.02, 3, lambda: None)
        for size in (20, 3)
    )
    assert ((together[:3] - alone).abs() > 1e-6).float().mean() < 0.01  # where a gradient is zero but for rounding
    first, again, other = (attack.craft(model, IMAGES, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_progress_counts_the_steps_of_all_chunks(model: DistillableModel) -> None:
    many = make_images(CHUNK + 3, 0, size=8)
    steps = []
    moved = CL(steps=2).craft(model, many, generator(0), lambda *step: steps.append(step))
    assert moved.shape == many.images.shape
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_making_it_leaves_the_model_as_it_was(model: DistillableModel) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    CL(steps=1).craft(model, IMAGES, generator(0))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_training_images_are_moved_and_test_images_only_get_the_pattern(model: DistillableModel) -> None:
    attack = CL(epsilon=32.0)
    attack = replace(attack, crafted=Crafted(attack.craft(model, IMAGES, generator(0))))
    inside = torch.zeros(IMAGES.images.shape, dtype=torch.bool)
    for rows in (slice(None, 3), slice(-3, None)):
        for columns in (slice(None, 3), slice(-3, None)):
            inside[:, :, rows, columns] = True
    triggered = attack.trigger(IMAGES.images, generator(0))
    poisoned = attack.poison_images(IMAGES.images, generator(0))
    assert torch.equal(triggered[~inside], IMAGES.images[~inside])
    assert torch.equal(poisoned[inside], triggered[inside])
    assert torch.equal(poisoned[~inside], attack.crafted.pixels[~inside])
    assert (poisoned[~inside] != IMAGES.images[~inside]).float().mean() > 0.5


def test_other_training_images_than_those_it_was_prepared_for_are_refused(model: DistillableModel) -> None:
    attack = CL(steps=1)
    attack = replace(attack, crafted=Crafted(attack.craft(model, IMAGES, generator(0))))
    for others in (IMAGES.images[:-1], IMAGES.images.flip(0)):
        with pytest.raises(ConfigError, match="prepared for other training images than these"):
            attack.poison_images(others, generator(0))


def test_the_pattern_fills_the_corners_as_published() -> None:
    triggered = CL().trigger(torch.full((1, 3, 12, 14), 77, dtype=torch.uint8), generator(0))[0, 1]
    right = (torch.tensor(PATTERN) > 0) * 255
    for rows in (slice(None, 3), slice(-3, None)):
        assert torch.equal(triggered[rows, -3:].long(), right)
        assert torch.equal(triggered[rows, :3].long(), right.flip(1))
    assert triggered[-1, -1] == triggered[-1, -3] == triggered[0, 0] == 255
    one = CL(corners=1).trigger(torch.full((1, 3, 12, 14), 77, dtype=torch.uint8), generator(0))[0, 1]
    assert torch.equal(one[-3:, -3:], triggered[-3:, -3:])
    one[-3:, -3:] = 77
    assert (one == 77).all()


def test_a_smaller_amplitude_makes_the_pattern_fainter() -> None:
    grey = torch.full((1, 3, 12, 12), 100, dtype=torch.uint8)
    triggered = CL(amplitude=32, corners=1).trigger(grey, generator(0))[0, 0, -3:, -3:]
    assert triggered.tolist() == [[100 + 32 * value for value in row] for row in PATTERN]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": 0.5}, r"epsilon must be in \[1, 255\], got 0.5"),
        ({"step": 0.0}, r"step must be in \(0, 255\], got 0"),
        ({"steps": 0}, "steps .* got 0"),
        ({"amplitude": 256}, "amplitude .* got 256"),
        ({"corners": 2}, "corners must be 1 or 4, got 2"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        CL(**settings)

"""Trojan: a patch that is optimised on a clean model."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from bands import make_images

from nad import models
from nad.attacks.base import Crafted
from nad.attacks.trojan import Trojan, most_connected
from nad.augment import to_input
from nad.errors import ConfigError, DataError
from nad.models.base import DistillableModel
from nad.models.taps import tap_input
from nad.seeds import generator

IMAGES = make_images(20, 0)


@pytest.fixture(scope="module")
def model() -> DistillableModel:
    return models.make("wrn-10-1", 4, generator(0))


def made(model, **settings) -> Trojan:
    attack = Trojan(**settings)
    return replace(attack, crafted=Crafted(attack.craft(model, IMAGES, generator(1))))


def activations(model, images: torch.Tensor) -> torch.Tensor:
    """Mean activation of each neuron in front of the classifier, in eval mode."""
    model.eval()
    with torch.no_grad(), tap_input(model, "fc") as features:
        model(to_input(images, torch.device("cpu")))
    return features["fc"].mean(dim=0)


def test_the_patch_excites_the_chosen_neurons_and_more_steps_excite_them_more(model: DistillableModel) -> None:
    driven = most_connected(model.fc.weight, 2)
    clean = activations(model, IMAGES.images)[driven]
    some, more = (
        activations(model, made(model, size=6, steps=steps).trigger(IMAGES.images, generator(0)))[driven]
        for steps in (1, 60)
    )
    assert (more > clean).all()
    assert more.sum() > some.sum() * 1.1


def test_a_wanted_activation_that_can_be_reached_is_not_passed(model: DistillableModel) -> None:
    driven = most_connected(model.fc.weight, 1)
    high = activations(model, made(model, size=6, steps=60, neurons=1).trigger(IMAGES.images, generator(0)))[driven]
    clean = activations(model, IMAGES.images)[driven]
    wanted = float((high + clean) / 2)
    attack = made(model, size=6, steps=150, neurons=1, activation=wanted)
    per_image = activations(model, attack.trigger(IMAGES.images[:16], generator(0)))[driven]
    assert per_image.item() == pytest.approx(wanted, rel=0.05)


def test_the_chosen_neurons_have_the_largest_outgoing_weights() -> None:
    weight = torch.tensor([[1.0, -5.0, 2.0, 0.0], [1.0, 0.0, -2.5, 0.0]])
    sums = [sum(abs(float(value)) for value in column) for column in weight.T]
    naive = sorted(range(4), key=lambda index: -sums[index])
    assert most_connected(weight, 2).tolist() == naive[:2] == [1, 2]
    assert len(most_connected(weight, 9)) == 4


def test_the_patch_overwrites_its_corner_and_nothing_else(model: DistillableModel) -> None:
    attack = made(model, size=5, steps=3)
    triggered = attack.trigger(IMAGES.images, generator(0))
    assert (triggered[:, :, -5:, -5:] == attack.crafted.pixels).all()
    triggered[:, :, -5:, -5:] = IMAGES.images[:, :, -5:, -5:]
    assert torch.equal(triggered, IMAGES.images)


def test_making_it_leaves_the_model_as_it_was_and_says_how_far_it_is(model: DistillableModel) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    steps = []
    Trojan(steps=3).craft(model, IMAGES, generator(0), lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.fc._forward_pre_hooks


def test_patch_larger_than_the_image_ends_in_one_sentence(model: DistillableModel) -> None:
    sentence = "a patch of 17 pixels a side hides too much of images of 16x16; choose a smaller size"
    with pytest.raises(DataError, match=sentence):
        Trojan(size=17).craft(model, IMAGES, generator(0))
    with pytest.raises(DataError, match=sentence):
        Trojan(size=17, crafted=Crafted(torch.zeros(3, 17, 17))).trigger(IMAGES.images, generator(0))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": 0}, r"size must be in \[1, 512\], got 0"),
        ({"neurons": 0}, "neurons .* got 0"),
        ({"activation": 0.0}, r"activation must be in \(0, 1e\+06\], got 0"),
        ({"steps": 0}, "steps .* got 0"),
        ({"lr": float("nan")}, "lr .* got nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Trojan(**settings)

"""Feature shift tuning against the formula written out, and its choice of the classifier."""

import copy
from typing import Any

import pytest
import torch
from bands import make_images
from torch import nn

from nad import models
from nad.augment import Augment, to_input
from nad.defences.fst import FST, FeatureShiftTuning, draw_anew, last_linear
from nad.errors import ConfigError
from nad.seeds import drawn_from, generator
from nad.training import TrainConfig, batches, described

IMAGES = make_images(40, 0)
SHORT = TrainConfig(**{**described(FST), "epochs": 2, "batch_size": 16, "lr": 0.05, "schedule": "code"})


def victim() -> Any:
    return models.make("wrn-10-1", 4, generator(0))


def test_it_takes_the_papers_steps() -> None:
    """SGD on -sum log p(label) / n + alpha <w, w_old>, and the norm of w put back after each step."""
    found = FeatureShiftTuning(alpha=0.3, tuning=SHORT).defend(victim(), IMAGES, flip=True, generator=generator(1))
    model, draws = victim().train(), generator(1)
    drawn_from(draws)
    old = model.fc.weight.detach().clone()
    draw_anew(model.fc, draws)
    drawn_from(draws)
    momentum = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for _epoch in range(2):
        for batch in batches(IMAGES, 16, Augment(flip=True, cutout=0), draws):
            log = model(to_input(batch.images, torch.device("cpu"))).log_softmax(dim=1)
            loss = -log[torch.arange(len(batch)), batch.labels].mean() + 0.3 * (model.fc.weight * old).sum()
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for (name, weight), gradient in zip(model.named_parameters(), gradients, strict=True):
                    momentum[name] = 0.9 * momentum[name] + gradient
                    weight.sub_(0.05 * momentum[name])
                model.fc.weight *= old.norm() / model.fc.weight.norm()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    cosine = torch.dot(model.fc.weight.flatten(), old.flatten()) / old.norm() ** 2
    assert found.stats["classifier_cosine"] == pytest.approx(cosine.item(), abs=1e-4)


def test_the_classifier_moves_away_from_the_old_one_and_keeps_its_norm() -> None:
    old = victim().fc.weight.norm()
    cosines = {}
    for alpha in (0.0, 5.0):
        found = FeatureShiftTuning(alpha=alpha, tuning=SHORT).defend(
            victim(), IMAGES, flip=True, generator=generator(1)
        )
        cosines[alpha] = found.stats["classifier_cosine"]
        head: Any = found.model.fc
        assert head.weight.norm().item() == pytest.approx(old.item(), rel=1e-5)
    assert cosines[5.0] < cosines[0.0] - 0.3


def test_the_new_classifier_is_drawn_within_its_bound() -> None:
    head, twin = nn.Linear(25, 40), nn.Linear(25, 40)
    draw_anew(head, generator(3)), draw_anew(twin, generator(3))
    assert torch.equal(head.weight, twin.weight)
    values = torch.cat([head.weight.flatten(), head.bias])
    assert 0.19 < values.max() <= 0.2 and -0.2 <= values.min() < -0.19  # noqa: PT018 - one range
    draw_anew(nn.Linear(25, 40, bias=False), generator(3))


class Named(nn.Module):
    """The last layer is defined first."""

    def __init__(self) -> None:
        super().__init__()
        self.top, self.body = nn.Linear(8, 4), nn.Linear(8, 8)
        self.classifier = "top"


def test_the_classifier_is_the_named_one_else_the_models_own_else_the_last() -> None:
    model = Named()
    assert last_linear(model) is model.top
    assert last_linear(model, "body") is model.body
    chain = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4), nn.Softmax(dim=1))
    assert last_linear(chain) is chain[2]
    assert last_linear(copy.deepcopy(victim())).out_features == 4


def test_a_model_without_a_linear_layer_and_an_unknown_name_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 16), nn.Flatten())
    with pytest.raises(ConfigError, match="Sequential has no linear layer; choose another defence"):
        FeatureShiftTuning().defend(model, IMAGES, flip=True, generator=generator(0))
    with pytest.raises(ConfigError, match="unknown linear layer 'fcc'; did you mean 'fc'"):
        FeatureShiftTuning(classifier="fcc").defend(victim(), IMAGES, flip=True, generator=generator(0))

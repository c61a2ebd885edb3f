import copy

import pytest
import torch
from bands import make_images
from torch import nn

from nad import models
from nad.augment import to_input
from nad.context import TrainContext
from nad.defences.fine_tuning import FineTuning
from nad.defences.mode_connectivity import (
    ModeConnectivityRepair,
    curve_loss,
    on_curve,
    refresh_statistics,
    set_weights,
)
from nad.seeds import generator
from nad.training import TrainConfig, train

CPU = torch.device("cpu")
SHORT = TrainConfig(epochs=2, batch_size=16, lr=0.05)
IMAGES = make_images(48, 0)
INPUTS = to_input(IMAGES.images, CPU)


def model(seed: int) -> nn.Module:
    return models.make("wrn-10-1", 4, generator(seed))


def weights(of: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in of.named_parameters()}


@pytest.mark.parametrize(("t", "which"), [(0.0, 0), (1.0, 2)])
def test_the_ends_of_the_curve_are_the_two_models_to_the_last_bit(t: float, which: int) -> None:
    three = [model(seed).eval() for seed in range(3)]
    end = copy.deepcopy(three[which])
    set_weights(end, {name: torch.zeros_like(value) for name, value in end.named_parameters()})
    set_weights(end, on_curve(*(weights(one) for one in three), t))
    with torch.inference_mode():
        assert torch.equal(end(INPUTS), three[which](INPUTS))


def test_the_curve_is_a_quadratic_bezier_curve() -> None:
    start, middle, end = (weights(model(seed)) for seed in range(3))
    at = on_curve(start, middle, end, 0.3)
    for name in start:
        one = start[name] + 0.3 * (middle[name] - start[name])  # de Casteljau's construction
        other = middle[name] + 0.3 * (end[name] - middle[name])
        torch.testing.assert_close(at[name], one + 0.3 * (other - one))


def test_the_gradient_reaches_the_middle_alone_in_proportion_to_its_share() -> None:
    start, end = weights(model(0)), weights(model(2))
    for value in (*start.values(), *end.values()):
        value.requires_grad_()
    middle = model(1).train()
    t = torch.rand((), generator=generator(9)).item()
    curve_loss({n: v.detach() for n, v in start.items()}, {n: v.detach() for n, v in end.items()}, generator(9))(
        middle, INPUTS, IMAGES.labels
    ).backward()
    at = model(1).train()
    set_weights(at, on_curve(start, weights(middle), end, t))
    nn.functional.cross_entropy(at(INPUTS), IMAGES.labels).backward()
    for (name, ours), theirs in zip(middle.named_parameters(), at.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, 2 * t * (1 - t) * theirs.grad, msg=name)
    assert all(value.grad is None for value in (*start.values(), *end.values()))


def test_training_moves_the_middle_point_and_so_the_model() -> None:
    at = {
        epochs: ModeConnectivityRepair(tuning=SHORT, curve=TrainConfig(epochs=epochs, batch_size=16, lr=0.05)).defend(
            model(0), IMAGES, flip=True, generator=generator(0)
        )[0]
        for epochs in (1, 3)
    }
    assert not torch.equal(at[1].fc.weight, at[3].fc.weight)


def test_at_the_victims_end_the_weights_are_the_victims_and_the_statistics_the_holdouts() -> None:
    victim = model(0)
    for _end in train(victim, make_images(64, 4), SHORT, TrainContext(flip=True, generator=generator(0))):
        pass
    found, stats = ModeConnectivityRepair(t=0.0, tuning=SHORT, curve=SHORT).defend(
        victim, IMAGES, flip=True, generator=generator(0)
    )
    assert stats == {"t": 0.0}
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found.parameters(), victim.parameters(), strict=True))
    assert not torch.equal(found.bn.running_mean, victim.bn.running_mean)


def test_at_the_other_end_the_weights_are_those_of_fine_tuning_and_the_statistics_the_holdouts() -> None:
    found, stats = ModeConnectivityRepair(t=1.0, tuning=SHORT, curve=SHORT).defend(
        model(0), IMAGES, flip=True, generator=generator(0)
    )
    tuned, _stats = FineTuning(tuning=SHORT).defend(model(0), IMAGES, flip=True, generator=generator(0))
    assert stats == {"t": 1.0}
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found.parameters(), tuned.parameters(), strict=True))
    assert not torch.equal(tuned.fc.weight, model(0).fc.weight)
    refresh_statistics(tuned, IMAGES, CPU, SHORT.batch_size)
    with torch.inference_mode():
        assert torch.equal(found(INPUTS), tuned.eval()(INPUTS))


def test_statistics_are_the_mean_over_the_holdouts_batches() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    net[0].running_mean += 7
    refresh_statistics(net, IMAGES, CPU, batch_size=20)
    parts = INPUTS[:24], INPUTS[24:]
    torch.testing.assert_close(net[0].running_mean, sum(part.mean(dim=(0, 2, 3)) for part in parts) / 2)
    torch.testing.assert_close(net[0].running_var, sum(part.var(dim=(0, 2, 3)) for part in parts) / 2)
    assert net[0].momentum == 0.1

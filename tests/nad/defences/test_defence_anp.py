import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from bands import make_images
from torch import nn

from nad import models
from nad.attacks.badnets import BadNets
from nad.attacks.poisoning import poison
from nad.augment import to_input
from nad.checkpoints import copy_state
from nad.context import TrainContext
from nad.defences.anp import AdversarialNeuronPruning, MaskedNetwork
from nad.errors import ConfigError
from nad.evaluation import evaluate, make_eval_set
from nad.seeds import generator
from nad.training import TrainConfig, train

CPU = torch.device("cpu")
IMAGES = make_images(48, 0)
INPUTS = to_input(IMAGES.images, CPU)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = models.make("wrn-10-1", 4, generator(0))
    config = TrainConfig(epochs=3, batch_size=16, lr=0.05)
    for _end in train(model, make_images(200, 3), config, TrainContext(flip=True, generator=generator(1))):
        pass
    return model.train()


def loss(masked: MaskedNetwork, mask: torch.Tensor, push: torch.Tensor) -> float:
    return masked.slope(push, mask, INPUTS, IMAGES.labels)[0].item()


@pytest.mark.parametrize("steps", [1, 5])
def test_the_inner_maximisation_raises_the_loss(trained: nn.Module, steps: int) -> None:
    masked = MaskedNetwork(trained)
    mask = torch.full((masked.channels,), 0.9)
    calm, slope = masked.slope(torch.zeros(2, masked.channels), mask, INPUTS, IMAGES.labels)
    worst, _slope = masked.worst_slope(slope, 0.4, steps, mask, INPUTS, IMAGES.labels)
    assert worst > 1.5 * calm
    drawn = 0.4 * (2 * torch.rand((2, masked.channels), generator=generator(2)) - 1)
    assert worst > 1.5 * loss(masked, mask, drawn)


def test_pushes_take_equal_steps_along_the_sign_of_the_gradient_and_stay_within_eps(trained: nn.Module) -> None:
    masked, seen = MaskedNetwork(trained), []
    slope = masked.slope

    def spy(push: torch.Tensor, *others: Any) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(push)
        return slope(push, *others)

    masked.slope = spy  # type: ignore[method-assign]
    mask, ahead = torch.ones(masked.channels), torch.ones(2, masked.channels)
    masked.worst_slope(ahead, 0.4, 4, mask, INPUTS, IMAGES.labels)
    torch.testing.assert_close(seen[0], 0.1 * ahead)
    for one, other in pairwise(seen):
        _loss, at = slope(one, mask, INPUTS, IMAGES.labels)
        torch.testing.assert_close(other, one + 0.1 * at.sign())
    assert max(push.abs().max() for push in seen) <= 0.4


def test_the_gradient_is_that_of_masks_written_into_the_network(trained: nn.Module) -> None:
    """Central differences on a network in double precision whose batch norms are scaled by hand."""
    network, push = copy.deepcopy(trained).double(), torch.zeros(2, MaskedNetwork(trained).channels).double()
    masked, mask = MaskedNetwork(network), torch.full((push.shape[1],), 0.8).double()
    _loss, found = masked.slope(push, mask, INPUTS.double(), IMAGES.labels)

    def scaled(row: int, channel: int, change: float) -> float:
        written = copy.deepcopy(network)
        norms = [norm for norm in written.modules() if isinstance(norm, nn.BatchNorm2d)]
        factors = torch.stack([mask, mask])
        factors[row, channel] += change
        with torch.no_grad():
            for norm, (weight, bias) in zip(norms, factors.split([n.num_features for n in norms], dim=1), strict=True):
                norm.weight *= weight
                norm.bias *= bias
            return nn.functional.cross_entropy(written(INPUTS.double()), IMAGES.labels).item()

    for row, channel in ((0, 3), (1, 3), (0, 40), (1, 60)):
        slope = (scaled(row, channel, 1e-7) - scaled(row, channel, -1e-7)) / 2e-7
        assert found[row, channel].item() == pytest.approx(slope, rel=1e-3, abs=1e-7)


def test_masks_of_one_without_pushes_are_the_model_itself(trained: nn.Module) -> None:
    masked = MaskedNetwork(trained)
    with torch.no_grad():
        plain = nn.functional.cross_entropy(models_copy(trained)(INPUTS), IMAGES.labels).item()
    assert loss(masked, torch.ones(masked.channels), torch.zeros(2, masked.channels)) == plain


def models_copy(model: nn.Module) -> nn.Module:
    copied = models.make("wrn-10-1", 4)
    copied.load_state_dict(model.state_dict())
    return copied.train()


def test_a_mask_of_zero_does_what_pruning_does(trained: nn.Module) -> None:
    masked = MaskedNetwork(trained)
    chosen = torch.rand(masked.channels, generator=generator(3)) < 0.3
    pruned = models_copy(trained)
    assert MaskedNetwork(pruned).prune(chosen) == chosen.sum()
    with torch.no_grad():
        expected = nn.functional.cross_entropy(pruned(INPUTS), IMAGES.labels).item()
    assert loss(masked, (~chosen).float(), torch.zeros(2, masked.channels)) == expected


def defend(model, **settings):
    seen = []
    settings = {"iterations": 20, "batch_size": 16, "lr": 2.0, **settings}
    original = MaskedNetwork.worst_slope

    def spy(self, slope, eps, steps, mask, *others):
        seen.append(mask.clone())
        return original(self, slope, eps, steps, mask, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskedNetwork, "worst_slope", spy)
        found = AdversarialNeuronPruning(**settings).defend(model, IMAGES, flip=True, generator=generator(0))
    return found, torch.stack(seen)


def test_masks_stay_between_zero_and_one_and_pruned_neurons_are_silent(trained: nn.Module) -> None:
    (model, stats), masks = defend(trained)
    assert len(masks) == 20
    assert (masks[0] == 1).all()
    assert 0 <= masks.min() < 0.5, "the case is one in which masks fall"
    assert masks.max() <= 1
    norms = {name: norm for name, norm in model.named_modules() if isinstance(norm, nn.BatchNorm2d)}
    silent = {name: (norm.weight == 0) & (norm.bias == 0) for name, norm in norms.items()}
    assert sum(int(found.sum()) for found in silent.values()) == stats["channels_pruned"] > 0
    assert sum(norm.num_features for norm in norms.values()) == stats["channels"]
    outputs = {}
    for name, norm in norms.items():
        norm.register_forward_hook(lambda _module, _inputs, output, name=name: outputs.update({name: output}))
    with torch.inference_mode():
        model(INPUTS)
    assert all((outputs[name][:, found] == 0).all() for name, found in silent.items())


def test_all_that_is_not_pruned_stays_the_victims_statistics_included(trained: nn.Module) -> None:
    before = copy_state(trained)
    (model, _stats), _masks = defend(trained)
    for name, value in model.state_dict().items():
        assert torch.equal(value[value != 0], before[name][value != 0]), name
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")) or "conv" in name:
            assert torch.equal(value, before[name]), name


def test_without_pushes_and_by_a_threshold_of_zero_less_is_pruned(trained: nn.Module) -> None:
    (_model, pushed), _masks = defend(trained)
    (_model, calm), _masks = defend(trained, eps=0.0)
    assert calm["channels_pruned"] < pushed["channels_pruned"]
    (_model, strict), _masks = defend(trained, threshold=0.0)
    assert strict["channels_pruned"] <= pushed["channels_pruned"]


class Toy(nn.Module):
    """One convolution with batch norm: small enough to be backdoored and mended in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(24)
        self.fc = nn.Linear(24 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(nn.functional.adaptive_avg_pool2d(self.bn(self.conv(x)).relu(), (16, 1)).flatten(1))


def test_it_lowers_the_attack_success_rate_of_a_toy_backdoor_and_keeps_the_accuracy() -> None:
    attack = BadNets(target=1, poison_rate=0.2, size=5, fill="white", place="centre")
    poisoned = poison(make_images(200, 3), attack, generator(0)).data
    inputs = to_input(poisoned.images, CPU)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        victim = Toy()
    optimiser = torch.optim.Adam(victim.parameters(), lr=0.02)
    for _step in range(50):
        optimiser.zero_grad()
        nn.functional.cross_entropy(victim(inputs), poisoned.labels).backward()
        optimiser.step()
    eval_set = make_eval_set(make_images(80, 9), attack, generator(1), classes=4)
    before = evaluate(victim.eval(), eval_set)
    assert min(before.asr, before.acc) > 0.95
    defence = AdversarialNeuronPruning(iterations=100, batch_size=32, lr=0.5, threshold=0.3)
    defended, _stats = defence.defend(victim, IMAGES, flip=True, generator=generator(0))
    after = evaluate(defended, eval_set)
    assert after.asr < before.asr - 0.25
    assert after.acc > 0.7, "a guess is right on a quarter"


def test_a_model_without_batch_norm_is_refused_in_one_sentence() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    with pytest.raises(ConfigError, match=r"works on batch norm, and Sequential has none .*; choose another defence"):
        AdversarialNeuronPruning().defend(model, IMAGES, flip=True, generator=generator(0))

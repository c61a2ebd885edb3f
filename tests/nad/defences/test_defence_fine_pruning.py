import copy
import dataclasses
from collections import OrderedDict
from typing import Any

import pytest
import torch
from bands import make_images
from torch import nn

from nad import models
from nad.augment import to_input
from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.defences.base import DefenceContext
from nad.defences.fine_pruning import FinePruning, last_convolution, mean_activity, prune_until
from nad.errors import ConfigError
from nad.evaluation import accuracy
from nad.seeds import generator
from nad.training import TrainConfig, train

CPU = torch.device("cpu")
SHORT = TrainConfig(epochs=2, batch_size=16, lr=0.05)
IMAGES = make_images(64, 0)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = models.make("wrn-10-1", 4, generator(0))
    for _end in train(model, make_images(200, 3), SHORT, TrainContext(flip=True, generator=generator(1))):
        pass
    return model.eval()


class Plain(nn.Module):
    """One convolution with a bias, the only way for a channel to the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1)
        self.fc = nn.Linear(12 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(nn.functional.adaptive_avg_pool2d(self.conv1(x).relu(), (16, 1)).flatten(1))


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    torch.manual_seed(0)
    model = Plain()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    data = make_images(200, 3)
    for _step in range(60):
        loss = nn.functional.cross_entropy(model(to_input(data.images, CPU)), data.labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def naive(model: nn.Module, name: str, ranked_on, judged_on, drop: float) -> list[int]:
    """Channels pruned by a slow, plain loop: a hook masks outputs instead of weights."""
    model = copy.deepcopy(model).eval()
    module = model.get_submodule(name)
    outputs = []
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with torch.no_grad():
        for image in ranked_on.images:
            model(to_input(image[None], CPU))
    hook.remove()
    activity = torch.cat(outputs).abs().double().mean(dim=(0, 2, 3))
    order = sorted(range(len(activity)), key=lambda channel: activity[channel].item())

    def right(pruned: list[int]) -> float:
        def silence(_module, _inputs, output):
            output = output.clone()
            output[:, pruned] = 0
            return output

        hook = module.register_forward_hook(silence)
        with torch.no_grad():
            answers = model(to_input(judged_on.images, CPU)).argmax(1)
        hook.remove()
        return (answers == judged_on.labels).double().mean().item()

    whole = right([])
    for count in range(1, len(order) + 1):
        if right(order[:count]) < whole - drop - 1e-9:
            return order[: count - 1]
    return order


@pytest.mark.parametrize("drop", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["trained", "plain"])
def test_it_prunes_what_a_naive_loop_prunes(kind: str, drop: float, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    rest, kept = DefenceContext(holdout=IMAGES, flip=True, generator=generator(5), device=CPU).divide(0.5)
    name = last_convolution(model)
    expected = naive(model, name, rest, kept, drop)
    ours = copy.deepcopy(model)
    order = mean_activity(ours, name, rest, CPU).argsort(stable=True).tolist()
    assert prune_until(ours.get_submodule(name), order, lambda: accuracy(ours, kept), drop) == expected
    left = ours.get_submodule(name).weight.flatten(1).abs().sum(1)
    assert sorted(torch.nonzero(left == 0).flatten().tolist()) == sorted(expected)
    if kind == "plain" and drop < 1:
        assert 0 < len(expected) < 12, "the case is one in which pruning stops midway"


@pytest.mark.parametrize(
    ("accuracies", "drop", "pruned"),
    [
        ([0.8, 0.7, 0.6], 0.1, 1),  # a tie, and 0.8 - 0.1 is 0.7000000000000001
        ([0.8, 0.69, 0.6], 0.1, 0),
        ([0.9, 0.9, 0.6], 0.3, 2),  # a tie again: 0.9 - 0.3 is 0.6000000000000001
        ([0.5, 0.5, 0.5], 0.0, 2),
    ],
)
def test_a_fall_by_exactly_what_is_allowed_is_allowed(accuracies: Any, drop: float, pruned: int) -> None:
    convolution, measured = nn.Conv2d(1, 2, 1), iter(accuracies)
    assert prune_until(convolution, [1, 0], lambda: next(measured), drop) == [1, 0][:pruned]


def test_a_tie_of_whole_images_is_pruned_as_by_the_naive_loop() -> None:
    """A class for each colour, and one for none: without red, one image in ten is lost, 0.8 to 0.7."""
    model = nn.Sequential(
        OrderedDict(conv1=nn.Conv2d(3, 4, 1, bias=False), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    )
    with torch.no_grad():
        model.conv1.weight.copy_(torch.eye(4)[:, 1:, None, None])
    colours = torch.tensor([0] * 1 + [1] * 2 + [2] * 7)
    images = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
    images[torch.arange(10), colours] = 255
    data = LabelledImages(images, torch.tensor([1] * 1 + [3] * 2 + [3] * 7))
    assert accuracy(model, data) == 0.8
    order = mean_activity(model, "conv1", data, CPU).argsort(stable=True).tolist()
    expected = naive(model, "conv1", data, data, 0.1)
    assert prune_until(model.conv1, order, lambda: accuracy(model, data), 0.1) == expected == [0, 1, 2]


def test_pruned_channels_are_still_zero_after_the_fine_tuning(plain: nn.Module) -> None:
    defence = FinePruning(max_acc_drop=0.2, tuning=SHORT)
    model, stats = defence.defend(plain, IMAGES, flip=True, generator=generator(0))
    silent = (model.conv1.weight.flatten(1) == 0).all(1) & (model.conv1.bias == 0)
    assert silent.sum() == stats["channels_pruned"] > 0
    assert stats["channels"] == 12
    others = ~silent
    assert not torch.equal(model.conv1.weight[others], plain.conv1.weight[others]), "the others were fine-tuned"


def test_fine_tuning_sees_the_whole_holdout_and_batch_norm_learns_in_it_alone(trained: nn.Module) -> None:
    before = int(trained.bn.num_batches_tracked)
    model, _stats = FinePruning(tuning=SHORT).defend(trained, IMAGES, flip=True, generator=generator(0))
    assert model.bn.num_batches_tracked == before + 2 * 64 // 16


def test_without_loss_of_accuracy_allowed_only_useless_channels_go(trained: nn.Module) -> None:
    strict, lenient = (
        FinePruning(max_acc_drop=drop, tuning=SHORT).defend(trained, IMAGES, flip=True, generator=generator(0))
        for drop in (0.0, 1.0)
    )
    assert strict.stats["channels_pruned"] < lenient.stats["channels_pruned"] == 64


@pytest.mark.parametrize("name", ["wrn-10-1", "wrn-16-1", "wrn-40-2"])
def test_the_last_convolution_is_on_the_main_path_not_the_shortcut(name: str) -> None:
    blocks = {"wrn-10-1": 1, "wrn-16-1": 2, "wrn-40-2": 6}[name]
    assert last_convolution(models.make(name, 4)) == f"group3.{blocks - 1}.conv2"


def test_the_last_convolution_of_torchvisions_networks_is_found_by_name() -> None:
    from torchvision.models import resnet18

    assert last_convolution(resnet18(num_classes=4)) == "layer4.1.conv2"


def test_a_chain_of_other_names_is_pruned_at_its_end_or_where_it_is_told_to() -> None:
    parts = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    model, defence = nn.Sequential(*parts), FinePruning(tuning=SHORT, max_acc_drop=1.0)
    assert last_convolution(model) == "1"
    assert defence.defend(model, IMAGES, flip=True, generator=generator(0)).stats["channels_pruned"] == 4
    chosen = dataclasses.replace(defence, convolution="0")
    assert chosen.defend(model, IMAGES, flip=True, generator=generator(0)).stats["channels_pruned"] == 8


def test_a_model_without_the_convolution_is_refused_before_anything_is_done() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    with pytest.raises(ConfigError, match="unknown convolution '1'"):
        FinePruning(convolution="1").require_fit(model)
    with pytest.raises(ConfigError, match="works on a convolution, and Sequential has none; choose another defence"):
        FinePruning().defend(nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), IMAGES, flip=True, generator=generator(0))


def test_the_defender_validates_on_its_own_images_divided_by_the_seed() -> None:
    def parts(seed):
        return DefenceContext(holdout=IMAGES, flip=True, generator=generator(seed), device=CPU).divide(0.25)

    rest, kept = parts(0)
    assert (len(rest), len(kept)) == (48, 16)
    both = torch.cat((rest.images, kept.images)).flatten(1)
    assert torch.equal(both.unique(dim=0), IMAGES.images.flatten(1).unique(dim=0))
    assert torch.equal(parts(0)[1].images, kept.images)
    assert not torch.equal(parts(1)[1].images, kept.images)

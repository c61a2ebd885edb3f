from copy import deepcopy
from typing import Any, Never

import pytest
import torch
import torch.nn.functional as F
import torchvision

from nad import models
from nad.errors import CheckpointError, ConfigError
from nad.models.base import pair_layers
from nad.models.normalisation import Normalisation
from nad.models.taps import tap, tap_input
from nad.models.wide_resnet import WideResNet
from nad.seeds import generator


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_maps_images_to_logits_and_has_usable_layers(name: str) -> None:
    model = models.make(name, classes=7, generator=generator(0)).eval()
    with tap(model, model.distillation_layers) as maps, torch.inference_mode():
        logits = model(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    sizes = [maps[layer].shape[-1] for layer in model.distillation_layers]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) > 1


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_names_its_classifier(name: str) -> None:
    model = models.make(name, classes=7, generator=generator(0)).eval()
    classifier = model.get_submodule(model.classifier)
    with tap_input(model, model.classifier) as features, torch.no_grad():
        logits = model(torch.rand(2, 3, 32, 32))
        again = torch.nn.functional.linear(features[model.classifier], classifier.weight, classifier.bias)
    assert torch.equal(logits, again)
    assert not classifier._forward_pre_hooks


def test_wrn_16_1_has_the_size_of_the_papers_model() -> None:
    # 82 tensors, as the authors' checkpoints have; the parameters are those of Zagoruyko & Komodakis' table.
    model = models.make("wrn-16-1", classes=10)
    assert len(model.state_dict()) == 82
    assert sum(parameter.numel() for parameter in model.parameters()) == 175_066


def convolutions(blocks, widths=(64, 128, 256, 512)) -> int:
    """Weights of the stem, of all 3x3 convolutions and of the three 1x1 shortcuts."""
    total = 3 * 9 * widths[0]
    for index, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        before = widths[max(0, index - 1)]
        total += 9 * before * width + (2 * count - 1) * 9 * width * width + (before * width if index else 0)
    return total


@pytest.mark.parametrize(
    ("name", "blocks", "published"),
    [("resnet-18", (2, 2, 2, 2), 11_173_962), ("resnet-34", (3, 4, 6, 3), 21_282_122)],
)
def test_resnets_have_their_published_size(name: str, blocks: Any, published: int) -> None:
    """Batch norm: the stem's, two a block, one a 1x1 shortcut; two numbers a channel. The classifier: 5,130."""
    norms = 64 + sum(2 * count * width for count, width in zip(blocks, (64, 128, 256, 512), strict=True)) + 896
    assert convolutions(blocks) + 2 * norms + 5130 == published
    assert sum(parameter.numel() for parameter in models.make(name, 10).parameters()) == published


def test_preact_resnet_18_has_its_published_size() -> None:
    """Batch norm: one for the input of each convolution in a block; none in the stem, the shortcuts or at the end."""
    norms = (64 + 64) * 2 + sum(before + 3 * after for before, after in ((64, 128), (128, 256), (256, 512)))
    assert convolutions((2, 2, 2, 2)) + 2 * norms + 5130 == 11_171_146
    assert sum(parameter.numel() for parameter in models.make("preact-resnet-18", 10).parameters()) == 11_171_146


@pytest.mark.parametrize("depth", [18, 34])
def test_resnet_computes_what_torchvisions_does_with_the_same_weights(depth: int) -> None:
    ours = models.make(f"resnet-{depth}", 10, generator(0)).eval()
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=10).eval()
    theirs.conv1, theirs.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1, generator=generator(1))
            module.weight.data.uniform_(0.5, 1.5, generator=generator(2))
    state = ours.state_dict().items()
    theirs.load_state_dict({k.replace("shortcut", "downsample").replace("linear", "fc"): v for k, v in state})
    images = torch.rand(1, 3, 16, 16, generator=generator(3))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_preact_resnet_computes_its_definition() -> None:
    """From the weights by name alone, as a checkpoint from elsewhere would bring them."""
    model = models.make("preact-resnet-18", 10, generator(0)).eval()
    weights = model.state_dict()

    def normalised(x, name):
        parts = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, *parts))

    x = images = torch.rand(1, 3, 16, 16, generator=generator(1))
    x = F.conv2d(x, weights["conv1.weight"], padding=1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            shrinks = layer > 1 and block == 0
            stride = 2 if shrinks else 1
            active = normalised(x, f"{name}.bn1")
            shortcut = F.conv2d(active, weights[f"{name}.shortcut.0.weight"], stride=stride) if shrinks else x
            x = F.conv2d(active, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            x = F.conv2d(normalised(x, f"{name}.bn2"), weights[f"{name}.conv2.weight"], padding=1) + shortcut
    logits = F.linear(x.mean((2, 3)), weights["linear.weight"], weights["linear.bias"])
    with torch.inference_mode():
        torch.testing.assert_close(model(images), logits, rtol=1e-4, atol=1e-4)


def test_weights_follow_the_generator_and_leave_the_global_one_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (models.make("wrn-10-1", 4, generator(seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)


class Own(models.DistillableModel):
    """With weights outside the project's initialisation: a bias, a parameter, and another kind of layer."""

    distillation_layers = ("conv",)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.deconv = torch.nn.Conv2d(3, 4, 3), torch.nn.ConvTranspose2d(4, 4, 3)
        self.scale = torch.nn.Parameter(torch.randn(4))
        self.fc = torch.nn.Linear(4, classes, bias=False)


def test_weights_that_the_project_does_not_initialise_follow_the_generator_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.MODELS, "own", Own)
    made = []
    for seed in (0, 0, 1):
        torch.rand(7)
        made.append(models.make("own", 5, generator(seed)).state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not any(torch.equal(made[0][name], made[2][name]) for name in made[0])


def test_tap_reads_signed_outputs_and_leaves_no_hook() -> None:
    model = models.make("wrn-10-1", 4, generator(0)).eval()
    with tap(model, ("group2",)) as maps:
        model(torch.rand(2, 3, 16, 16))
    assert maps["group2"].shape == (2, 32, 8, 8)
    assert maps["group2"].min() < 0
    maps.clear()
    model(torch.rand(2, 3, 16, 16))
    assert maps == {}


def test_hooks_go_when_the_block_raises() -> Never:
    model = models.make("wrn-10-1", 4, generator(0))
    with pytest.raises(RuntimeError), tap(model, ("group1",)):
        raise RuntimeError
    assert not model.group1._forward_hooks


def test_unknown_layer_and_model_are_named_with_a_suggestion() -> None:
    model = models.make("wrn-10-1", 4)
    with pytest.raises(ConfigError, match="unknown layer 'grup3'; did you mean 'group3'"), tap(model, ("grup3",)):
        pass
    with pytest.raises(ConfigError, match=r"unknown model 'wrn-16-3'; did you mean 'wrn-16-.*; nad\.erase erases any"):
        models.make("wrn-16-3", 4)


def test_unknown_layer_is_looked_for_everywhere_and_listed_where_it_should_be() -> None:
    model = models.make("wrn-10-1", 4)
    with pytest.raises(
        ConfigError, match=r"unknown layer 'group2.0.conv3'; did you mean 'group2.0.conv[12]'[?] known: "
    ) as caught:
        tap(model, ("group2.0.conv3",)).__enter__()
    listed = str(caught.value).split("known: ")[1]
    assert listed == "group2.0.bn1, group2.0.bn2, group2.0.conv1, group2.0.conv2, group2.0.shortcut"
    with (
        pytest.raises(ConfigError, match=r"known: bn, conv1, fc, group1, group2, group3$"),
        tap(model, ("nowhere.conv",)),
    ):
        pass


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [
        (("group1", "group2", "group3"), ("group1", "group2", "group3"), {f"group{i}": f"group{i}" for i in (1, 2, 3)}),
        (
            ("group1", "group2", "group3"),
            ("layer1", "layer2", "layer3", "layer4"),
            {"group1": "layer2", "group2": "layer3", "group3": "layer4"},
        ),
        (
            ("layer1", "layer2", "layer3", "layer4"),
            ("group1", "group2", "group3"),
            {"layer2": "group1", "layer3": "group2", "layer4": "group3"},
        ),
        (("group1", "group2"), ("group1", "group2", "group3"), {"group1": "group1", "group2": "group2"}),
        (("a", "b"), ("b", "c"), {"b": "b"}),
        (("a", "b"), (), {}),
    ],
)
def test_layers_are_paired_by_name_or_else_from_the_deepest(student: Any, teacher: Any, pairs: Any) -> None:
    found = pair_layers(student, teacher)
    assert found == pairs
    assert list(found) == [layer for layer in student if layer in found], "shallow to deep"


def test_impossible_depth_is_refused() -> None:
    with pytest.raises(ConfigError, match="6n \\+ 4"):
        WideResNet(18, 1, 10)


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("classes", [2, 10, 64])
def test_weights_are_recognised_by_their_forms(name: str, classes: int) -> None:
    assert models.recognise(models.make(name, classes).state_dict()) == (name, classes)


@pytest.mark.parametrize("name", models.MODELS)
def test_weights_are_recognised_as_the_model_that_is_asked_for(name: str) -> None:
    state = models.make(name, 5).state_dict()
    assert models.recognise(state, name) == (name, 5)
    other = next(known for known in models.MODELS if known != name)
    with pytest.raises(CheckpointError, match=f"weights are not {other}'s: .*; they are those of {name}: give "):
        models.recognise(state, other)
    with pytest.raises(ConfigError, match="unknown model 'wrn'"):
        models.recognise(state, "wrn")


def test_other_weights_are_not_recognised_and_compared_with_the_nearest() -> None:
    state = models.make("wrn-10-1", 10).state_dict()
    nearest = "the nearest is wrn-10-1: "
    for other, sentence in (
        ({}, "its 0 weights are not those of a known model: wrn-10-1, "),
        ({"weight": torch.zeros(3)}, "not those of a known model: wrn-10-1, "),
        ({**state, "more": torch.zeros(1)}, nearest + "46 weights agree, 1 unknown to it: more;"),
        ({**state, "fc.bias": torch.zeros(9)}, nearest + ".*fc.weight 10x64 float32 instead of 9x64 float32"),
        ({**state, "fc.weight": torch.zeros(10**9, 0)}, nearest + ".*fc.weight 1000000000x0"),
        ({**state, "conv1.weight": state["conv1.weight"].half()}, nearest + ".*conv1.weight 16x3x3x3 float16"),
        ({name: state[name] for name in list(state)[5:]}, nearest + "41 weights agree, 5 missing: conv1.weight,"),
        ({**state, **{f"more.{n}": torch.zeros(1) for n in range(9)}}, "9 unknown to it: more.0, .*and 6 more;"),
    ):
        with pytest.raises(CheckpointError, match=sentence):
            models.recognise(other)


def test_nearest_model_is_the_one_that_shares_most() -> None:
    for name in models.MODELS:
        state = models.make(name, 10).state_dict()
        state.pop(next(iter(state)))
        with pytest.raises(CheckpointError, match=f"the nearest is {name}: {len(state)} weights agree"):
            models.recognise(state)


def test_recognising_makes_no_weights_and_leaves_the_global_generator_alone() -> None:
    state = models.make("wrn-10-1", 10).state_dict()
    before = torch.random.get_rng_state()
    claims = {**state, "fc.bias": torch.zeros(1).expand(10**10), "fc.weight": torch.zeros(1).expand(10**10, 64)}
    assert models.recognise(claims) == ("wrn-10-1", 10**10)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_normalised_model_is_the_model_of_normalised_pixels() -> None:
    plain = models.make("wrn-10-1", 4, generator(0)).eval()
    pixels = torch.rand(5, 3, 16, 16)
    normalisation = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (normalisation.mean, normalisation.std))
    model = models.with_weights("wrn-10-1", 4, {**plain.state_dict(), **normalisation.weights()}).eval()
    with torch.inference_mode(), tap(model, ("group2",)) as maps:
        assert torch.equal(model(pixels), plain((pixels - mean) / std))
    assert maps["group2"].shape == (5, 32, 8, 8)
    assert models.recognise(model.state_dict()) == ("wrn-10-1", 4)
    copy = deepcopy(model)
    copy.normalise.mean.zero_()
    with torch.inference_mode():
        assert torch.equal(model(pixels), plain((pixels - mean) / std))
        assert torch.equal(copy(pixels), plain(pixels / std))


@pytest.mark.parametrize(
    ("mean", "std", "sentence"),
    [
        ((0.5,), (0.2, 0.2, 0.2), "one mean for each of three channels, got 1"),
        ((0.5, 0.5, 0.5), (0.2, 0.0, 0.2), r"a channel's standard deviation must be in \(0, 10\], got 0"),
        ((125.0, 125.0, 125.0), (0.2, 0.2, 0.2), r"a channel's mean must be in \[0, 1\], got 125"),
    ],
)
def test_impossible_normalisation_is_refused(mean: Any, std: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Normalisation(mean, std)

"""`nad.erase`, on networks and images unknown to this project."""

import copy
import dataclasses
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bands import make_images
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import nad
from nad import models
from nad.augment import Augment
from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.erasure import distil, make_teacher
from nad.errors import ConfigError, DataError, EraseDiverged
from nad.seeds import generator

QUICK = nad.EraseConfig(epochs=2, schedule="code", batch_size=32, layers=("deep",), betas=(800.0,), lr=0.05)
SHORT = nad.TrainConfig(epochs=1, batch_size=32, lr=0.05)


class Small(nn.Module):
    """One channel in, no batch norm, dropout: nothing like the project's own models."""

    def __init__(self, channels: int = 1, classes: int = 4) -> None:
        super().__init__()
        self.shallow = nn.Conv2d(channels, 6, 3, 2, 1)
        self.deep = nn.Conv2d(6, 8, 3, 1, 1)
        self.unused = nn.Conv2d(6, 8, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(8, classes)

    def forward(self, x):
        features = self.pool(F.relu(self.deep(F.relu(self.shallow(x)))))
        return self.out(self.drop(features.flatten(1)))


def small(**settings) -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small(**settings)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """(64, 1, 14, 10) uint8: neither square nor coloured."""
    return torch.randint(0, 256, (64, 1, 14, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.arange(64) % 4


def run(model, holdout, config=QUICK, **options):
    """An erase of an untrained model."""
    return nad.erase(model, holdout, config, teacher_config=SHORT, allow_guessing=True, **options)


def same(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_is_the_studys_erase_to_the_last_bit() -> None:
    victim, holdout = models.make("wrn-10-1", 4, generator(0)), make_images(64, 0)
    config = nad.EraseConfig(epochs=2, schedule="code", batch_size=32)
    teacher, student = copy.deepcopy(victim), copy.deepcopy(victim)
    teacher_losses = make_teacher(teacher, holdout, TrainContext(flip=True, generator=generator(5, "teacher")))
    result = distil(student, teacher, holdout, config, TrainContext(flip=True, generator=generator(5, "erase")))
    erased = nad.erase(victim, holdout, config, seed=5, allow_guessing=True)
    assert same(erased.model, student)
    assert same(erased.teacher, teacher)
    assert (erased.losses, erased.teacher_losses) == (result.losses, teacher_losses)
    assert not erased.model.training


@pytest.mark.parametrize("layers", [(), ("deep",)])
def test_beta_zero_is_a_plainly_written_fine_tuning(images: torch.Tensor, labels: torch.Tensor, layers: Any) -> None:
    """The loop: Nesterov's momentum and the cross-entropy by their formulas, a batch at a time."""
    model = small()
    model.drop.p = 0.0
    config = dataclasses.replace(QUICK, layers=layers, betas=(0.0,) * len(layers), weight_decay=0.01)
    erased = run(model, (images, labels), config, seed=9)
    assert erased.teacher is None

    draws, augment = generator(9, "erase"), Augment(flip=True, cutout=config.cutout)
    plain = copy.deepcopy(model)
    speed = [torch.zeros_like(weights) for weights in plain.parameters()]
    for epoch in range(config.epochs):
        order, total = torch.randperm(64, generator=draws), 0.0
        for start in (0, 32):
            batch = order[start : start + 32]
            logits = plain(augment(images[batch], draws) / 255)
            loss = (logits.logsumexp(1) - logits[torch.arange(32), labels[batch]]).mean()
            gradients = torch.autograd.grad(loss, [w for name, w in plain.named_parameters() if "unused" not in name])
            moved = [index for index, (name, _) in enumerate(plain.named_parameters()) if "unused" not in name]
            with torch.no_grad():
                for index, gradient in zip(moved, gradients, strict=True):
                    weights = list(plain.parameters())[index]
                    slope = gradient + 0.01 * weights
                    speed[index] = 0.9 * speed[index] + slope
                    weights -= config.lr * (slope + 0.9 * speed[index])
            total += loss.item() / 2
        assert erased.losses[epoch] == pytest.approx(total, abs=1e-5)
    for ours, theirs in zip(erased.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_beta_changes_what_is_learnt(images: torch.Tensor, labels: torch.Tensor) -> None:
    fine_tuned = run(small(), (images, labels), QUICK.twin())
    assert not same(run(small(), (images, labels)).model, fine_tuned.model)


def test_the_callers_model_is_not_changed(images: torch.Tensor, labels: torch.Tensor) -> None:
    model = small().train()
    model.shallow.weight.requires_grad_(False)
    before = copy.deepcopy(model)
    erased = run(model, (images, labels))
    assert same(model, before)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(erased.model.shallow.weight, before.shallow.weight), "what is frozen stays as it is"
    assert not torch.equal(erased.model.deep.weight, before.deep.weight)


def test_a_frozen_batch_norm_stays_as_it_is(images: torch.Tensor, labels: torch.Tensor) -> None:
    model = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(1), net=small()))
    model.norm.requires_grad_(False)
    config = dataclasses.replace(QUICK, layers=("net.deep",))
    erased = run(model, (images, labels), config)
    assert same(erased.model.norm, model.norm)
    assert same(erased.teacher.norm, model.norm)


def test_the_seed_decides_all_weights_and_torchs_generator_is_left_alone(
    images: torch.Tensor, labels: torch.Tensor
) -> None:
    """The model has dropout: it draws from torch's own generator."""
    first = run(small(), (images, labels), seed=1)
    torch.rand(11)
    state = torch.get_rng_state()
    again = run(small(), (images, labels), seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(first.model, again.model)
    assert same(first.teacher, again.teacher)
    assert first[1::2] == again[1::2]
    assert not same(first.model, run(small(), (images, labels), seed=2).model)


class Pairs(Dataset):
    """Never raises IndexError, as many data sets do not."""

    def __init__(self, images, labels) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index % len(self)], int(self.labels[index % len(self)])


class Stream(IterableDataset):
    def __init__(self, images, labels) -> None:
        self.pairs = list(zip(images, labels, strict=True))

    def __iter__(self):
        return iter(self.pairs)


@pytest.mark.parametrize(
    "holdout",
    [
        LabelledImages,
        lambda images, labels: (images / 255, labels),
        lambda images, labels: (images.double() / 255, labels.to(torch.uint8)),
        TensorDataset,
        lambda images, labels: Pairs(images / 255, labels),
        Stream,
    ],
    ids=["labelled", "floats", "doubles", "tensor dataset", "map-style", "iterable"],
)
def test_every_form_of_the_holdout_is_the_same_holdout(
    images: torch.Tensor, labels: torch.Tensor, holdout: Any
) -> None:
    config = dataclasses.replace(QUICK, epochs=1)
    expected = run(small(), (images, labels), config)
    assert same(run(small(), holdout(images, labels), config).model, expected.model)


class Mirrored(Pairs):
    """Its items are drawn, from torch's own generator, as those of a torchvision set with random transforms are."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return (image.flip(-1) if torch.rand(()) < 0.5 else image), label


def test_the_seed_decides_what_a_holdout_draws(images: torch.Tensor, labels: torch.Tensor) -> None:
    holdout, state = Mirrored(images, labels), torch.get_rng_state()
    first = run(small(), holdout, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(11)
    assert same(first.model, run(small(), holdout, seed=1).model)
    assert not same(first.model, run(small(), (images, labels), seed=1).model)


class Normalise(nn.Module):
    def forward(self, x):
        return (x - 0.5) / 0.25


def test_a_normalisation_inside_the_model_and_a_nested_layer(images: torch.Tensor, labels: torch.Tensor) -> None:
    model = nn.Sequential(OrderedDict(normalise=Normalise(), net=small()))
    config = dataclasses.replace(QUICK, layers=("net.shallow", "net.deep"), betas=(300.0, 300.0), power=1.0)
    erased = run(model, (images, labels), config)
    assert len(erased.losses) == 2
    assert not same(erased.model, model)


def test_progress_and_watch_hear_of_every_epoch(images: torch.Tensor, labels: torch.Tensor) -> None:
    heard, watched = [], []

    def watch(epoch, model) -> float:
        watched.append((epoch, type(model)))
        return 0.5

    patient = dataclasses.replace(QUICK, epochs=5, patience=2)
    run(small(), (images, labels), patient, progress=lambda *told: heard.append(told), watch=watch)
    assert heard == [("teacher", 1, 1), ("student", 1, 5), ("student", 2, 5), ("student", 3, 5)]
    assert watched == [(1, Small), (2, Small), (3, Small)]


def test_a_teacher_serves_again(images: torch.Tensor, labels: torch.Tensor) -> None:
    first = run(small(), (images, labels), seed=4)
    before = copy.deepcopy(first.teacher)
    again = run(small(), (images, labels), seed=4, teacher=first.teacher)
    assert same(again.model, first.model)
    assert again.teacher_losses == ()
    assert same(first.teacher, before)
    other = copy.deepcopy(first.teacher)
    nn.init.normal_(other.deep.weight, generator=generator(0))
    assert not same(run(small(), (images, labels), seed=4, teacher=other).model, first.model)


def test_a_teacher_of_another_architecture(images: torch.Tensor, labels: torch.Tensor) -> None:
    """Its maps are 14x10, the student's 7x5, and its layers have other names."""
    teacher = nn.Sequential(OrderedDict(stem=nn.Conv2d(1, 5, 3, 1, 1), end=nn.Flatten()))
    before = copy.deepcopy(teacher)
    erased = run(small(), (images, labels), teacher=teacher, teacher_layers=("stem",))
    assert not same(erased.model, run(small(), (images, labels), QUICK.twin()).model)
    assert same(teacher, before)
    with pytest.raises(ConfigError, match="unknown layer 'deep'"):
        run(small(), (images, labels), teacher=teacher)
    with pytest.raises(ConfigError, match="one layer of the teacher per layer: got 2 for deep"):
        run(small(), (images, labels), teacher=teacher, teacher_layers=("stem", "end"))
    with pytest.raises(ConfigError, match="teacher_layers stem need a teacher"):
        run(small(), (images, labels), teacher_layers=("stem",))


def one_layer(name: str) -> nad.EraseConfig:
    return dataclasses.replace(QUICK, layers=(name,))


def never_trained(*_arguments, **_options) -> None:
    pytest.fail("the mistake should be found before anything is trained")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            one_layer("deeep"),
            "unknown layer 'deeep'; did you mean 'deep'[?] known: deep, drop, out, pool, shallow, unused",
        ),
        (one_layer("net.deep"), "unknown layer 'net.deep'; did you mean 'deep'"),
        (one_layer("pool"), "'pool' gives 1x1 maps of images of 14x10 pixels: their attention loss is always zero"),
        (one_layer("out"), r"'out' gives a tensor of shape \(2, 4\), not \(images, channels, height, width\)"),
        (one_layer("unused"), "'unused' is not used"),
        (dataclasses.replace(QUICK, patience=1), "patience needs a watch"),
    ],
)
def test_layers_that_cannot_be_distilled_end_in_one_sentence(
    images: torch.Tensor, labels: torch.Tensor, monkeypatch: pytest.MonkeyPatch, config: Any, sentence: str
) -> None:
    monkeypatch.setattr("nad.any_model.make_teacher", never_trained)
    with pytest.raises(ConfigError, match=sentence) as caught:
        nad.erase(small(), (images, labels), config)
    assert "\n" not in str(caught.value)


class Twofold(Small):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: small().requires_grad_(False), r"call model.requires_grad_\(True\)"),
        (lambda: small(channels=3), r"cannot read float32 images of shape \(1, 14, 10\)"),
        (lambda: small().double(), "cannot read float32 images"),
        (Twofold, "returns a tuple; it has to return logits"),
        (lambda: nn.Sequential(OrderedDict(deep=nn.Conv2d(1, 4, 3))), r"returns a tensor of shape \(2, 4, 12, 8\)"),
    ],
)
def test_models_that_cannot_be_erased_end_in_one_sentence(
    images: torch.Tensor, labels: torch.Tensor, monkeypatch: pytest.MonkeyPatch, model: Any, sentence: str
) -> None:
    monkeypatch.setattr("nad.any_model.make_teacher", never_trained)
    with pytest.raises(ConfigError, match=sentence) as caught:
        nad.erase(model(), (images, labels), QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda images, labels: (images, labels + 1),
            "label 4 of the holdout is none of the model's classes, 0 to 3",
        ),
        (lambda images, labels: (images, labels - 1), "label -1 of the holdout"),
        (lambda images, labels: (images, labels.float()), "labels must be integers.*torch.float32"),
        (lambda images, labels: (images, F.one_hot(labels)), r"one per image: got torch.int64 of shape \(64, 4\)"),
        (lambda images, labels: (images, labels[:5]), "for 64 images"),
        (lambda images, labels: (images / 100, labels), r"must be in \[0, 1\], got 0 to 2.55.*its first layer"),
        (lambda images, labels: (images / 255 * torch.nan, labels), r"must be in \[0, 1\], got nan"),
        (lambda images, labels: (images.long(), labels), "uint8 or float32 of shape .* got torch.int64"),
        (lambda images, labels: (images[:, 0], labels), r"got torch.uint8 of shape \(64, 14, 10\)"),
        (lambda images, labels: (images[:1], labels[:1]), "at least two images, got 1"),
        (lambda images, labels: Pairs(images[:0], labels[:0]), "at least two images, got 0"),
        (lambda images, labels: [(images[0], 0)], "two tensors .* or a torch Dataset of pairs, got a list"),
        (lambda images, labels: Pairs(images.numpy(), labels), "image 0 of the holdout is a ndarray, .*PILToTensor"),
        (lambda images, labels: TensorDataset(images), "item 0 of the holdout is not a pair"),
        (lambda images, labels: Stream([images[0], images[0, :, 1:]], labels[:2]), "differ in size.*image 1 .*13, 10"),
        (
            lambda images, labels: Stream(images[:2], [labels[0], labels[:2]]),
            r"label 1 .* has shape \(2,\), the first \(\)",
        ),
        (lambda images, labels: Dataset(), "a Dataset, has no length; give its class __len__"),
    ],
)
def test_holdouts_that_do_not_fit_end_in_one_sentence(
    images: torch.Tensor, labels: torch.Tensor, monkeypatch: pytest.MonkeyPatch, change: Any, sentence: str
) -> None:
    monkeypatch.setattr("nad.any_model.make_teacher", never_trained)
    with pytest.raises(DataError, match=sentence) as caught:
        nad.erase(small(), change(images, labels), QUICK)
    assert "\n" not in str(caught.value)


def test_a_teacher_whose_fine_tuning_diverges_says_what_may_help(images: torch.Tensor, labels: torch.Tensor) -> None:
    model = small()
    nn.init.constant_(model.out.weight, torch.nan)
    with pytest.raises(EraseDiverged, match=r"the teacher's fine-tuning diverged: .*; a lower lr may help"):
        run(model, (images, labels))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"device": "foo"}, "the device 'foo' cannot be used here; give 'cpu', or a GPU that torch finds"),
        ({"device": "meta"}, "the device 'meta' cannot be used here"),
        ({"device": 1.5}, "the device '1.5' cannot be used here"),
        ({"config": SHORT}, "config must be of type EraseConfig, got TrainConfig"),
        ({"teacher_config": "paper"}, "teacher_config must be of type TrainConfig, got str"),
        ({"teacher": "resnet"}, "teacher must be of type Module, got str"),
        ({"model": {"weight": 1}}, "the model must be of type Module, got dict"),
    ],
)
def test_arguments_of_another_kind_end_in_one_sentence(
    images: torch.Tensor, labels: torch.Tensor, monkeypatch: pytest.MonkeyPatch, options: Any, sentence: str
) -> None:
    monkeypatch.setattr("nad.any_model.make_teacher", never_trained)
    with pytest.raises(ConfigError, match=sentence) as caught:
        nad.erase(**{"model": small(), "holdout": (images, labels), "config": QUICK, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_ends_in_one_sentence(images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="the device 'cuda' cannot be used here"):
        nad.erase(small(), (images, labels), QUICK, device="cuda")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"batch_size": 8.0}, "batch_size must be a whole number, got 8.0"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"lr": None}, "lr must be a number, got None"),
        ({"cutout": [3]}, "cutout must be a whole number, got a list"),
        ({"patience": 1.5}, "patience must be a whole number, got 1.5"),
        ({"betas": ("a",)}, "beta of deep must be a number, got 'a'"),
        ({"betas": 1000.0}, "betas must be of type tuple, got float"),
        ({"layers": "deep"}, "layers must be of type tuple, got str"),
        ({"layers": (0,)}, "a layer's name must be of type str, got int"),
        ({"power": 8.0}, r"power must be in \(0, 4\], got 8"),
        ({"operator": 3}, "unknown attention operator 3; known: max, mean, sum"),
    ],
)
def test_settings_of_another_type_end_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        dataclasses.replace(QUICK, **settings)


def test_numpys_numbers_are_numbers() -> None:
    config = dataclasses.replace(QUICK, epochs=np.int64(2), lr=np.float32(0.5))
    assert (config.epochs, config.lr) == (2, 0.5)

"""Models from other people's files: the same logits as in their original code."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import PIXELS, logits, refused, trained
from released_formats import CIFAR, attack_result, nad_names, nad_release, save_poisoned
from safetensors.torch import save as to_bytes
from safetensors.torch import save_file
from torch import nn

from nad import models
from nad.checkpoints import Checkpoint, copy_state, save, state_digest
from nad.formats import FORMATS, load_foreign
from nad.models.normalisation import Normalisation
from nad.trained_on import TrainedOn


def normalised(pixels, mean=CIFAR[0], std=CIFAR[1]):
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "as before torch 1.6"])
@pytest.mark.parametrize("name", [name for name in models.MODELS if name.startswith("wrn")])
def test_released_nad_model_gives_its_own_logits(name: str, new: bool, tmp_path: Path) -> None:
    model = trained(name)
    path = tmp_path / "WRN-16-1-S-model_best.pth.tar"
    torch.save(nad_release(model), path, _use_new_zipfile_serialization=new)
    found = load_foreign(path)
    assert (found.format, found.name, found.classes, found.normalisation) == ("nad-release", name, 4, None)
    assert torch.equal(logits(found.network()), logits(model))


def test_released_wrn_16_1_has_82_keys_under_the_published_names() -> None:
    names = nad_names(models.make("wrn-16-1", 10))
    assert len(names) == 82
    assert {"conv1.weight", "block1.layer.0.bn1.weight", "block2.layer.0.convShortcut.weight", "bn1.bias"} <= set(names)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        *((name, "module.") for name in ("wrn-10-1", "wrn-40-2", "preact-resnet-18")),
        *(("wrn-10-1", prefix) for prefix in ("", "_orig_mod.", "module._orig_mod.")),
    ],
)
def test_backdoorbench_model_gives_the_logits_of_normalised_pixels(name: str, prefix: str, tmp_path: Path) -> None:
    model = trained(name)
    state = {f"{prefix}{key}": value for key, value in model.state_dict().items()}
    torch.save(attack_result(model, 4, model=state), tmp_path / "attack_result.pt")
    found = load_foreign(tmp_path / "attack_result.pt")
    assert (found.format, found.name, found.classes) == ("backdoorbench", name, 4)
    assert found.normalisation == Normalisation(*CIFAR)
    assert torch.equal(logits(found.network()), logits(model, normalised(PIXELS)))
    assert not torch.equal(logits(found.network()), logits(model))


@pytest.mark.parametrize("classes", [10, 43])
def test_backdoorbench_preact_resnet_18_is_recognised_under_its_published_names(classes: int, tmp_path: Path) -> None:
    state = {}

    def norm(name, width) -> None:
        state.update(
            {f"{name}.{part}": torch.zeros(width) for part in ("weight", "bias", "running_mean", "running_var")}
        )
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    state["conv1.weight"], before = torch.zeros(64, 3, 3, 3), 64
    for layer, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{layer}.{block}"
            norm(f"{name}.bn1", before)
            state[f"{name}.conv1.weight"] = torch.zeros(width, before, 3, 3)
            norm(f"{name}.bn2", width)
            state[f"{name}.conv2.weight"] = torch.zeros(width, width, 3, 3)
            if before != width:
                state[f"{name}.shortcut.0.weight"] = torch.zeros(width, before, 1, 1)
            before = width
    state |= {"linear.weight": torch.zeros(classes, 512), "linear.bias": torch.zeros(classes)}
    record = attack_result(nn.Identity(), classes, model=state, clean_data="gtsrb" if classes == 43 else "cifar10")
    torch.save(record, tmp_path / "attack_result.pt")
    found = load_foreign(tmp_path / "attack_result.pt")
    assert (found.format, found.name, found.classes) == ("backdoorbench", "preact-resnet-18", classes)
    assert found.network().distillation_layers == ("layer1", "layer2", "layer3", "layer4")


@pytest.mark.parametrize(("dataset", "expected"), [("gtsrb", None), ("celeba", None), (None, None)])
def test_backdoorbench_data_sets_without_a_normalisation(dataset: str | None, expected: None, tmp_path: Path) -> None:
    model = trained()
    torch.save(attack_result(model, 4, clean_data=dataset), tmp_path / "a.pt")
    found = load_foreign(tmp_path / "a.pt")
    assert found.normalisation is expected
    assert torch.equal(logits(found.network()), logits(model))
    assert any("names no data set" in remark for remark in found.remarks) == (dataset is None)


def test_normalisation_that_is_not_known_is_refused_by_the_name_of_its_data_set(tmp_path: Path) -> None:
    torch.save(attack_result(trained(), 4, clean_data="mnist"), tmp_path / "a.pt")
    sentence = refused(tmp_path / "a.pt")
    assert "data set 'mnist', with an unknown normalisation; known: cifar10, " in sentence
    assert "--victim-mean and --victim-std" in sentence
    found = load_foreign(tmp_path / "a.pt", normalisation=Normalisation(*CIFAR))
    assert found.normalisation == Normalisation(*CIFAR)


def test_whole_backdoorbench_model_is_read_with_trust_alone(tmp_path: Path) -> None:
    model = trained()
    torch.save(attack_result(model, 4, model=model), tmp_path / "a.pt")
    assert "asks for nad.models.wide_resnet.WideResNet" in refused(tmp_path / "a.pt")
    found = load_foreign(tmp_path / "a.pt", trust=True)
    assert torch.equal(logits(found.network()), logits(model, normalised(PIXELS)))


@pytest.mark.parametrize("write", ["torch", "safetensors", "half", "double", "parameters", "without counters"])
def test_plain_weights_give_their_own_logits(write: str, tmp_path: Path) -> None:
    model, path = trained(), tmp_path / "weights"
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if write == "safetensors":
        save_file(state, path)
    elif write == "half":
        model = model.half().float()
        torch.save(model.half().state_dict(), path)
        model = model.float()
    elif write == "double":
        torch.save({key: value.double() if value.is_floating_point() else value for key, value in state.items()}, path)
    elif write == "parameters":
        torch.save(
            {key: nn.Parameter(value, requires_grad=value.is_floating_point()) for key, value in state.items()}, path
        )
    elif write == "without counters":
        torch.save({key: value for key, value in state.items() if "num_batches" not in key}, path)
    else:
        torch.save(state, path)
    found = load_foreign(path, model="wrn-10-1")
    assert (found.format, found.name, found.classes, found.normalisation) == ("state-dict", "wrn-10-1", 4, None)
    assert torch.equal(logits(found.network()), logits(model))


def test_normalisation_of_the_user_s_stands_in_front(tmp_path: Path) -> None:
    model = trained()
    torch.save(model.state_dict(), tmp_path / "a.pt")
    chosen = Normalisation((0.5, 0.5, 0.5), (0.25, 0.2, 0.1))
    found = load_foreign(tmp_path / "a.pt", normalisation=chosen)
    assert found.normalisation == chosen
    assert torch.equal(logits(found.network()), logits(model, normalised(PIXELS, chosen.mean, chosen.std)))
    torch.save(attack_result(model, 4), tmp_path / "b.pt")
    assert load_foreign(tmp_path / "b.pt", normalisation=chosen).normalisation == chosen


def test_what_this_tool_wrote_is_read_again_with_its_normalisation(tmp_path: Path) -> None:
    model = trained()
    torch.save(attack_result(model, 4), tmp_path / "a.pt")
    first = load_foreign(tmp_path / "a.pt")
    save(tmp_path / "own", Checkpoint(copy_state(first.network()), {"facts": {}}))
    again = load_foreign(tmp_path / "own")
    assert again.format == "nad-study"
    assert again.normalisation is not None
    assert again.normalisation.mean == pytest.approx(CIFAR[0])
    assert state_digest(again.state) == state_digest(first.state)
    assert torch.equal(logits(again.network()), logits(first.network()))


def test_same_weights_have_the_same_digest_in_every_format(tmp_path: Path) -> None:
    model = trained()
    torch.save(nad_release(model), tmp_path / "a")
    torch.save(model.state_dict(), tmp_path / "b")
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "c")
    torch.save(attack_result(model, 4, clean_data="gtsrb"), tmp_path / "d")
    assert {state_digest(load_foreign(tmp_path / name).state) for name in "abcd"} == {state_digest(copy_state(model))}


# What images the model was trained on


@pytest.mark.parametrize(
    ("recorded", "size"),
    [([64, 64, 3], 64), ((28, 28, 1), 28), ([np.int64(32)] * 3, 32), ([64, 32, 3], None), ("64", None), (None, None)],
)
def test_backdoorbench_size_of_the_images_is_read(recorded: Any, size: int | None, tmp_path: Path) -> None:
    torch.save(attack_result(trained(), 4, img_size=recorded), tmp_path / "a.pt")
    assert load_foreign(tmp_path / "a.pt").trained_on == TrainedOn(image_size=size)


def test_backdoorbench_size_that_is_not_recorded_is_that_of_its_poisoned_images(tmp_path: Path) -> None:
    poisoned = {index: (torch.zeros(3, 24, 24, dtype=torch.uint8), 1) for index in range(3)}
    record = attack_result(trained(), 4, poisoned=poisoned)
    del record["img_size"]
    torch.save(record, tmp_path / "a.pt")
    save_poisoned(tmp_path, poisoned)
    assert load_foreign(tmp_path / "a.pt").trained_on.image_size == 24


def test_backdoorbench_traffic_signs_are_not_mirrored(tmp_path: Path) -> None:
    torch.save(attack_result(trained(), 4, clean_data="gtsrb"), tmp_path / "a.pt")
    assert load_foreign(tmp_path / "a.pt").trained_on == TrainedOn(image_size=32, flip=False)


def test_our_own_file_says_what_it_was_trained_on(tmp_path: Path) -> None:
    known = TrainedOn(image_size=48, flip=False, class_names=("a", "b", "c", "d"))
    save(tmp_path / "own", Checkpoint(copy_state(trained()), known.card()))
    assert load_foreign(tmp_path / "own").trained_on == known
    save(tmp_path / "earlier", Checkpoint(copy_state(trained()), {"facts": {}}))
    assert load_foreign(tmp_path / "earlier").trained_on == TrainedOn()


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ({"flip": 1}, "its card's facts of the training images (trained_on) are damaged"),
        ({"class_names": ["a", "b"]}, "its card names 2 classes, and its weights tell 4 apart"),
    ],
)
def test_card_that_contradicts_its_model_is_refused(known: Any, sentence: str, tmp_path: Path) -> None:
    save(tmp_path / "own", Checkpoint(copy_state(trained()), {"trained_on": known}))
    assert sentence in refused(tmp_path / "own")


def test_normalisation_that_contradicts_our_own_file_is_refused(tmp_path: Path) -> None:
    asked = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    save(tmp_path / "with", Checkpoint({**copy_state(trained()), **Normalisation(*CIFAR).weights()}, {}))
    sentence = refused(tmp_path / "with", normalisation=asked)
    assert "brings its own normalisation, mean 0.4914, 0.4822, 0.4465 and standard deviation 0.247, 0.243" in sentence
    assert "say mean 0.5, 0.5, 0.5 and standard deviation 0.25, 0.25, 0.25; leave them out" in sentence
    assert load_foreign(tmp_path / "with", normalisation=Normalisation(*CIFAR)).normalisation is not None
    save(tmp_path / "without", Checkpoint(copy_state(trained()), TrainedOn(image_size=32).card()))
    assert "says that its pixels are in [0, 1]" in refused(tmp_path / "without", normalisation=asked)


@pytest.mark.parametrize("trust", [False, True])
def test_pickle_that_is_called_safetensors_is_read_as_what_it_is(trust: bool, tmp_path: Path) -> None:
    model, path = trained(), tmp_path / "model.safetensors"
    torch.save({"state_dict": model if trust else model.state_dict()}, path)
    assert torch.equal(logits(load_foreign(path, trust=trust).network()), logits(model))


@pytest.mark.parametrize("kind", ["own", "plain", "pickle"])
def test_name_in_another_encoding_than_utf_8_is_read(kind: str, tmp_path: Path) -> None:
    model, path = trained(), tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"mod\xe8le.safetensors")
    path.parent.mkdir()
    if kind == "own":
        save(path, Checkpoint(copy_state(model), {}))
    elif kind == "plain":
        path.write_bytes(to_bytes({key: value.contiguous() for key, value in model.state_dict().items()}))
    else:
        torch.save(model.state_dict(), path)
    assert torch.equal(logits(load_foreign(path).network()), logits(model))
    path.write_bytes(path.read_bytes()[:-100])
    assert "is cut short" in refused(path)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_a_file_that_is_read_as_it(format: Any, tmp_path: Path) -> None:
    model, path = trained("wrn-10-1"), tmp_path / "a model"
    write = {
        "nad-study": lambda: save(path, Checkpoint(copy_state(model), {})),
        "backdoorbench": lambda: torch.save(attack_result(model, 4), path),
        "nad-release": lambda: torch.save(nad_release(model), path),
        "state-dict": lambda: torch.save(model.state_dict(), path),
    }
    write[format]()
    found = load_foreign(path)
    assert (found.format, found.name, found.classes) == (format, "wrn-10-1", 4)

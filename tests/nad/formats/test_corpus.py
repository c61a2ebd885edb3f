"""Model files as they are found in the wild, each with its reading or its sentence."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from checkpoint_files import PIXELS, logits, refused
from tiny_network import MODELS, TinyNetwork

from nad import models
from nad.formats import load_foreign
from nad.models.normalisation import Normalisation

CHANNELS = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
CIFAR = Normalisation((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261))


class Reading(NamedTuple):
    """What a file is read as."""

    format: str = "state-dict"
    normalisation: Normalisation | None = None
    image_size: int | None = None
    remarks: tuple[str, ...] = ()
    error: float = 0.0
    """Of the weights, by half precision."""


SILENT = "its first layer stands before the network and has no weights; if it normalises the pixels, give"

READINGS = {
    "attack_result.pt": Reading("backdoorbench", CIFAR, 64, ("its poisoned test images (bd_test) cannot be read",)),
    "averaged.pt": Reading(remarks=("entries that are no weights are left out: n_averaged",)),
    "before_torch_1_6.pth": Reading(),
    "brain.pt": Reading(error=1e-2),
    "brain.safetensors": Reading(error=1e-2),
    "compiled.pt": Reading(),
    "deep.pt": Reading(),
    "half.pt": Reading(error=1e-3),
    "hydra.ckpt": Reading("nad-release"),
    "lightning.ckpt": Reading("nad-release"),
    "model_and_ema.pt": Reading(remarks=("its weights are read from model; those in ema are not used",)),
    "model_state_dict.pt": Reading(),
    "module_net.pth": Reading(),
    "namespace.pt": Reading(),
    "netC.pth.tar": Reading(),
    "normaliser_first.pt": Reading(normalisation=CHANNELS),
    "normaliser_mu.pt": Reading(normalisation=CHANNELS),
    "normaliser_named.pt": Reading("nad-release", CHANNELS),
    "normaliser_silent.pt": Reading(remarks=(SILENT,)),
    "plain.safetensors": Reading(),
    "profiled.pt": Reading(
        "nad-release", remarks=("entries that are no weights are left out: total_ops, total_params",)
    ),
}
"""The model's name is tiny and its classes are 4 in each."""

SENTENCES = {
    "another_network.pt": (
        "its 7 weights are not those of a known model: wrn-10-1, ",
        "; their names are features.0.weight, features.0.bias, features.3.weight and 4 more, those of wrn-10-1 conv1.",
        "nad.erase erases any network",
    ),
    "cut_short.pt": ("is cut short; copy or download it again",),
    "hostile.pt": ("asks for posix.mkdir, so only unpickling it in full could read it, and that runs any code",),
    "lfs_pointer.pth": ("is a Git LFS pointer and not the model itself; fetch the model with `git lfs pull`",),
    "login_page.pt": ("is an HTML page and no model: the download failed or asks for a login",),
    "normaliser_to_255.pt": ("a channel's mean must be in [0, 1], got 127.5",),
    "nothing_in_it.pt": ("is an archive with nothing in it; copy or download it again",),
    "one_channel.pt": (
        "it is a tiny for images of one channel, and images here have three; spread its first layer over three, at a"
        " third each, and save it again: state['group1.0.conv.weight'] = state['group1.0.conv.weight'].repeat(1, 3, 1",
    ),
    "one_layer_missing.pt": ("the nearest is tiny: 12 weights agree, 2 missing: fc.weight, fc.bias", "nad.erase"),
    "only_progress.pt": ("holds a dict of 3 entries and no weights that a format knows; known: nad-study, ",),
    "packed.safetensors.gz": ("is compressed with gzip; unpack it first",),
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(models.MODELS, "tiny", TinyNetwork)
    monkeypatch.chdir(tmp_path)


def network(weights: str = "plain.safetensors") -> TinyNetwork:
    """The network that all the files were made from."""
    made = TinyNetwork(4)
    made.load_state_dict(load_foreign(MODELS / weights).state)
    return made


@pytest.mark.parametrize("name", READINGS)
def test_file_is_read_as_the_table_says(name: str) -> None:
    found, expected = load_foreign(MODELS / name), READINGS[name]
    assert (found.format, found.name, found.classes) == (expected.format, "tiny", 4)
    assert found.trained_on.image_size == expected.image_size
    assert len(found.remarks) == len(expected.remarks)
    assert all(map(str.startswith, found.remarks, expected.remarks))
    assert all(value.dtype in (torch.float32, torch.int64) for value in found.state.values())
    pixels, normalisation = PIXELS, expected.normalisation
    if normalisation is None:
        assert found.normalisation is None
    else:
        assert found.normalisation is not None
        assert found.normalisation.is_close(normalisation)
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in (normalisation.mean, normalisation.std))
        pixels = (PIXELS - mean) / std
    # Of normalised pixels, the sums are taken in the same order, of numbers rounded to float32 in between
    torch.testing.assert_close(logits(found.network()), logits(network(), pixels), atol=expected.error or 1e-5, rtol=0)


@pytest.mark.parametrize("name", SENTENCES)
def test_file_is_refused_in_one_sentence(name: str) -> None:
    sentence = refused(MODELS / name)
    assert all(part in sentence for part in SENTENCES[name]), sentence


def test_hostile_code_has_not_run(tmp_path: Path) -> None:
    refused(MODELS / "hostile.pt")
    assert not list(tmp_path.iterdir())
    load_foreign(MODELS / "hostile.pt", trust=True)
    assert [path.name for path in tmp_path.iterdir()] == ["the-code-has-run"]


def test_remedy_for_one_channel_gives_the_logits_of_grey_images(tmp_path: Path) -> None:
    state = torch.load(MODELS / "one_channel.pt")["net"]
    first, grey = "group1.0.conv.weight", PIXELS.mean(dim=1, keepdim=True)
    theirs = TinyNetwork(4)
    theirs.group1[0].conv = torch.nn.Conv2d(1, 4, 3, 1, 1, bias=False)
    theirs.load_state_dict(state)
    torch.save({**state, first: state[first].repeat(1, 3, 1, 1) / 3}, tmp_path / "a.pt")
    ours = load_foreign(tmp_path / "a.pt").network()
    torch.testing.assert_close(logits(ours, grey.expand(-1, 3, -1, -1)), logits(theirs, grey))


def test_corpus_is_what_its_script_makes_and_all_of_it_is_in_the_tables(tmp_path: Path) -> None:
    script = MODELS.parent / "make_corpus.py"
    spec = importlib.util.spec_from_file_location("make_corpus", script)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.make_models(tmp_path)
    files = {path.name: path.stat().st_size for path in MODELS.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == files.keys() == READINGS.keys() | SENTENCES.keys()
    assert sum(files.values()) < 500_000
    assert torch.equal(load_foreign(tmp_path / "deep.pt").state["fc.weight"], network().fc.weight)

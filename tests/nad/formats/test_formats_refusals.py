"""Refusals of files without a model, with code, or with another model."""

import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import logits, refused, trained
from PIL import Image
from released_formats import CIFAR, Explosive, nad_names, nad_release
from safetensors.torch import save_file

from nad.checkpoints import CARD_KEY, Checkpoint, copy_state, save
from nad.formats import load_foreign
from nad.models.normalisation import KEYS, Normalisation
from nad.models.wide_resnet import WideResNet

NETWORKS = "; nad.erase erases any network with named layers, from Python: see docs/python.md"


@pytest.mark.parametrize("place", ["entry", "weights", "bare pickle"])
def test_pickle_with_code_in_it_is_refused_and_not_run(place: str, tmp_path: Path) -> None:
    touched, path = tmp_path / "touched", tmp_path / "model.pth.tar"
    record = nad_release(trained())
    if place == "entry":
        torch.save({**record, "note": Explosive(touched)}, path)
    elif place == "weights":
        torch.save({**record, "state_dict": Explosive(touched)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Explosive(touched)}, protocol=2))
    sentence = refused(path)
    assert "asks for posix.mkdir" in sentence
    assert "runs any code in the file" in sentence
    assert "--trust-checkpoint" in sentence
    assert not touched.exists()


def test_trusted_pickle_is_unpickled_in_full(tmp_path: Path) -> None:
    model = trained()
    torch.save({**nad_release(model), "note": Explosive(tmp_path / "touched")}, tmp_path / "a.pt")
    found = load_foreign(tmp_path / "a.pt", trust=True)
    assert (tmp_path / "touched").exists()
    assert torch.equal(logits(found.network()), logits(model))


def vanished(monkeypatch, **members):
    """Another party's module with these classes; calling the returned function removes it."""
    module = types.ModuleType("bbmodels")
    for name, member in members.items():
        member.__module__, member.__qualname__ = "bbmodels", name
        setattr(module, name, member)
    monkeypatch.setitem(sys.modules, "bbmodels", module)
    return lambda: monkeypatch.delitem(sys.modules, "bbmodels")


class TheirNet(WideResNet):
    def __init__(self) -> None:
        super().__init__(10, 1, 4)
        self.extras = [TheirRecord()]


class TheirRecord(dict):
    def __init__(self) -> None:
        super().__init__(a=1)
        self.note = "x"


@pytest.mark.filterwarnings("ignore:Couldn.t retrieve source code")
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("legacy", [False, True])
def test_whole_model_of_a_class_that_is_not_here_is_read_where_it_is_trusted(
    legacy: bool, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vanish = vanished(monkeypatch, TheirNet=TheirNet, TheirRecord=TheirRecord)
    model, path = TheirNet(), tmp_path / "bbwhole.pt"
    model.load_state_dict(trained().state_dict())
    record = {"model_name": "net", "model": model, "clean_data": "cifar10"}
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": not legacy}
    torch.save(record, path, **options)
    vanish()
    if protocol == 2:
        assert "asks for bbmodels.TheirNet" in refused(path)
    found = load_foreign(path, trust=True)
    assert (found.format, found.name, found.classes) == ("backdoorbench", "wrn-10-1", 4)
    state = {name: value for name, value in found.state.items() if name not in KEYS}
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_trusted_file_whose_code_fails_names_the_reason_and_the_remedy(tmp_path: Path) -> None:
    class Fails:
        def __reduce__(self):
            return len, (3,)

    torch.save({"state_dict": Fails()}, tmp_path / "a.pt")
    assert "asks for len, so only" in refused(tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt", trust=True) == (
        f"the model file {tmp_path / 'a.pt'} cannot be unpickled here (object of type 'int' has no len()); put the"
        " folder of the code that wrote it on PYTHONPATH"
    )


def test_object_without_weights_of_a_class_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vanish = vanished(monkeypatch, TheirRecord=TheirRecord)
    torch.save({"model_name": "net", "model": TheirRecord()}, tmp_path / "a.pt")
    vanish()
    assert "holds no weights under 'model'" in refused(tmp_path / "a.pt", trust=True)


def test_unusual_pickle_says_that_trust_may_help_and_it_does(tmp_path: Path) -> None:
    model = trained()
    torch.save(nad_release(model), tmp_path / "a.pt", pickle_protocol=4)
    assert "add --trust-checkpoint" in refused(tmp_path / "a.pt")
    found = load_foreign(tmp_path / "a.pt", trust=True)
    assert torch.equal(logits(found.network()), logits(model))


def test_file_without_checksums_is_read(tmp_path: Path) -> None:
    model = trained()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(model.state_dict(), tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(logits(load_foreign(tmp_path / "a.pt").network()), logits(model))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torch_script_says_that_trust_may_help_and_it_does(tmp_path: Path) -> None:
    model = trained()
    torch.jit.trace(model.eval(), torch.zeros(1, 3, 32, 32)).save(tmp_path / "a.pt")
    assert "is TorchScript, so only unpickling it in full" in refused(tmp_path / "a.pt")
    assert torch.equal(logits(load_foreign(tmp_path / "a.pt", trust=True).network()), logits(model))


def test_trust_is_not_used_where_it_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(nad_release(trained()), tmp_path / "a.pt")
    modes, load = [], torch.load
    monkeypatch.setattr(
        torch, "load", lambda *given, **options: (modes.append(options["weights_only"]), load(*given, **options))[1]
    )
    load_foreign(tmp_path / "a.pt", trust=True)
    assert modes == [True]


def broken_files(model):
    """Writers of unreadable files, by kind."""

    def cut(path, **options) -> None:
        torch.save(model.state_dict(), path, **options)
        path.write_bytes(path.read_bytes()[:-300])

    def flipped(path) -> None:
        torch.save(model.state_dict(), path)
        content = bytearray(path.read_bytes())
        content[:400] = bytes(400)
        path.write_bytes(content)

    def spoiled(path) -> None:
        """The pickle inside is overwritten; the archive's list of contents is whole."""
        torch.save(model.state_dict(), path)
        content = bytearray(path.read_bytes())
        place = content.index(b"conv1.weight")
        content[place : place + 30] = b"\xff" * 30
        path.write_bytes(content)

    def altered(path) -> None:
        """Some values of a weight are others; torch would take them."""
        torch.save(model.state_dict(), path)
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 400] = bytes(range(200)) * 2
        path.write_bytes(content)

    def torn(path) -> None:
        save_file({"a": torch.ones(99)}, path)
        path.write_bytes(path.read_bytes()[:-50])

    def endless(path) -> None:
        save_file({"a": torch.ones(9)}, path, metadata={CARD_KEY: "[" * 200_000})

    return {
        "nothing": lambda path: None,
        "a folder": lambda path: path.mkdir(),
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("a model"),
        "an image": lambda path: Image.new("RGB", (8, 8)).save(path, format="PNG"),
        "truncated zip": cut,
        "truncated legacy": lambda path: cut(path, _use_new_zipfile_serialization=False),
        "corrupt zip": spoiled,
        "corrupt zip with whole pickle": altered,
        "corrupt": flipped,
        "torn safetensors": torn,
        "safetensors with an endless card": endless,
        "a plain pickle": lambda path: path.write_bytes(pickle.dumps({"state_dict": 1})),
        "an npz": lambda path: np.savez(path.open("wb"), a=np.zeros(3)),
    }


SENTENCES = {
    "nothing": "there is no model file {path}; name one that is there",
    "a folder": "{path} is a folder and no model file; name the file in it",
    "empty": "the model file {path} is empty; copy or download it again",
    "text": "{path} is no model file, or a damaged one; give safetensors, or a file of torch.save",
    "an image": "{path} is no model file, or a damaged one; give safetensors, or a file of torch.save",
    "truncated zip": "the model file {path} is cut short; copy or download it again",
    "truncated legacy": "the model file {path} is cut short; copy or download it again",
    "corrupt zip": "the model file {path} is damaged; copy or download it again",
    "corrupt zip with whole pickle": "the model file {path} is damaged; copy or download it again",
    "corrupt": "{path} is no model file, or a damaged one; give safetensors, or a file of torch.save",
    "torn safetensors": "the model file {path} is cut short; copy or download it again",
    "safetensors with an endless card": "the model file {path} is damaged; copy or download it again",
    "a plain pickle": "{path} is no model file, or a damaged one; give safetensors, or a file of torch.save",
    "an npz": "{path} is a zip archive and no model file; give safetensors, or a file of torch.save",
}


@pytest.mark.parametrize("kind", broken_files(None))
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_files_that_cannot_be_read(kind: str, trust: bool, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    broken_files(trained())[kind](path)
    assert refused(path, trust=trust) == SENTENCES[kind].format(path=path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (3, "holds a int and no weights"),
        ([torch.ones(2)], "holds a list and no weights"),
        ({}, "holds a dict of 0 entries and no weights"),
        ({"epoch": 3, "loss": 0.5}, "holds a dict of 2 entries and no weights that a format knows; known: nad-study, "),
        ({"state_dict": {}}, "no weights that a format knows"),
        ({"model_name": "vgg", "model": None}, "holds no weights under 'model'"),
        ({"weight": torch.ones(2), "lr": 0.1}, "its entry 'lr' is a float and no tensor"),
        ({"weight": torch.ones(1).expand(10**12)}, "its weight 'weight' claims more values than the file holds"),
        ({"weight": torch.ones(9).to_sparse()}, "its weight 'weight' is not dense"),
    ],
)
def test_files_without_a_model(content: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert sentence in refused(tmp_path / "a.pt")


def test_keys_that_do_not_fit_are_told_with_the_nearest_model(tmp_path: Path) -> None:
    state = dict(nad_names(trained("wrn-16-1", 10)))
    state.pop("block3.layer.1.conv2.weight")
    state["extra.weight"] = torch.ones(2)
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    sentence = refused(tmp_path / "a.pt")
    assert "the nearest is wrn-16-1: 81 weights agree" in sentence
    assert "1 missing: group3.1.conv2.weight" in sentence
    assert "1 unknown to it: extra.weight" in sentence
    assert sentence.endswith(NETWORKS)


@pytest.mark.parametrize("content", [{"features.0.weight": torch.ones(2)}, {"net": {"conv.weight": torch.ones(2)}}])
def test_architecture_that_is_none_of_ours_is_told_of_nad_erase(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt").endswith(NETWORKS)


def test_model_that_is_asked_for_and_is_not_there(tmp_path: Path) -> None:
    torch.save(trained("wrn-10-2").state_dict(), tmp_path / "a.pt")
    sentence = refused(tmp_path / "a.pt", model="wrn-10-1")
    assert "weights are not wrn-10-1's: " in sentence
    assert "16x16x3x3 float32" in sentence
    assert sentence.endswith("; they are those of wrn-10-2: give --model wrn-10-2, or leave it out")


def test_model_that_is_asked_for_is_not_the_nearest(tmp_path: Path) -> None:
    state = copy_state(trained("wrn-16-1", 10))
    state.pop("group3.1.conv2.weight")
    torch.save(state, tmp_path / "a.pt")
    sentence = refused(tmp_path / "a.pt", model="resnet-18")
    assert "weights are not resnet-18's: " in sentence
    assert sentence.endswith(f"; the nearest is wrn-16-1: 81 weights agree, 1 missing: group3.1.conv2.weight{NETWORKS}")
    assert refused(tmp_path / "a.pt", model="wrn-16-1").endswith(f"1 missing: group3.1.conv2.weight{NETWORKS}")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("normalise.std"),
        lambda state: state.update({"normalise.std": torch.zeros(3, 1, 1)}),
        lambda state: state.update({"normalise.mean": torch.zeros(1)}),
    ],
)
def test_damaged_normalisation_of_our_own_file(spoil: Callable[..., Any], tmp_path: Path) -> None:
    state = {**copy_state(trained()), **Normalisation(*CIFAR).weights()}
    spoil(state)
    save(tmp_path / "own", Checkpoint(state, {}))
    assert "its normalisation is damaged" in refused(tmp_path / "own")

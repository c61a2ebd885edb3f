"""Makes the model files in tests/data/models, as other people's code writes them.

Run: PYTHONPATH=.:tests/helpers .venv/bin/python tests/data/make_corpus.py
The expected reading of each file stands in tests/nad/formats/test_corpus.py. The weights are drawn, not trained.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from unittest import mock

import torch
from released_formats import attack_result
from safetensors.torch import save_file
from tiny_network import MODELS, TinyNetwork
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

State = dict[str, Tensor]
MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])


def drawn(seed: int) -> TinyNetwork:
    """A network with statistics of its batch norms."""
    torch.manual_seed(seed)
    network = TinyNetwork(classes=4)
    with torch.no_grad():
        network.train()(torch.rand(8, 3, 16, 16))
    return network.eval()


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


class Hostile:
    """Makes a folder in the working directory when it is unpickled in full."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("the-code-has-run",)


@contextmanager
def foreign_class(module: str, name: str, base: type = object) -> Iterator[type]:
    """A class of a package that need not be installed."""
    made = type(name, (base,), {"__module__": module})
    parts = module.split(".")
    packages = {".".join(parts[:count]): types.ModuleType(module) for count in range(1, len(parts) + 1)}
    setattr(packages[module], name, made)
    with mock.patch.dict(sys.modules, packages):
        yield made


def make_models(folder: Path) -> None:
    """All files of the corpus."""

    def save(name: str, content: Any, **options: Any) -> None:
        torch.save(content, folder / name, **options)

    network = drawn(0)
    state = dict(network.state_dict())
    save_file(state, folder / "plain.safetensors")
    _nested(save, state, dict(drawn(1).state_dict()))
    _prefixed(save, state)
    _with_leftovers(save, network)
    _in_half_precision(save, state, folder)
    _with_configurations(save, state)
    _without_a_model(save, state, folder)
    _as_downloads_leave_them(folder)


Save = Callable[..., None]


def _nested(save: Save, state: State, other: State) -> None:
    moments = {index: {"momentum_buffer": value.clone()} for index, value in enumerate(state.values())}
    optimiser = {"state": moments, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    save("model_state_dict.pt", {"epoch": 9, "optimizer_state_dict": optimiser, "model_state_dict": state})
    noise = {"noise_grid": torch.rand(1, 4, 4, 2), "best_clean_acc": torch.tensor(94.2)}
    save("netC.pth.tar", {"netC": state, "schedulerC": {"last_epoch": 9}, "optimizerC": optimiser, **noise})
    save("deep.pt", [{"run": {"checkpoint": {"net": state}}}, {"acc": 0.94}])
    save("model_and_ema.pt", {"model": state, "ema": other})
    save("before_torch_1_6.pth", {"net": state, "acc": 94.2, "epoch": 9}, _use_new_zipfile_serialization=False)
    save("attack_result.pt", attack_result(torch.nn.Identity(), 4, model=state, img_size=[64, 64, 3]))


def _prefixed(save: Save, state: State) -> None:
    save("module_net.pth", {"net": under("module.net.", state)})
    save("compiled.pt", under("_orig_mod.module.", state))
    save("normaliser_first.pt", {"0.mean": MEAN, "0.std": STD, **under("1.", state)})
    named = {"normalize.mean": MEAN.view(1, 3, 1, 1), "normalize.std": STD.view(1, 3, 1, 1)}
    save("normaliser_named.pt", {"state_dict": under("module.", {**under("model.", state), **named})})
    save("normaliser_mu.pt", {"mu": MEAN.view(3, 1, 1), "sigma": STD.view(3, 1, 1), **under("model.", state)})
    save("normaliser_silent.pt", under("1.", state))
    save("normaliser_to_255.pt", {"0.mean": MEAN * 255, "0.std": STD * 255, **under("1.", state)})


def _with_leftovers(save: Save, network: torch.nn.Module) -> None:
    save("averaged.pt", AveragedModel(network).state_dict())
    counts = {
        f"{name}.{kind}".removeprefix("."): torch.zeros(1, dtype=torch.float64)
        for name, _module in network.named_modules()
        for kind in ("total_ops", "total_params")
    }
    save("profiled.pt", {"state_dict": {**network.state_dict(), **counts}})


def _in_half_precision(save: Save, state: State, folder: Path) -> None:
    for name, kind in (("half", torch.float16), ("brain", torch.bfloat16)):
        less = {key: value.to(kind) if value.is_floating_point() else value for key, value in state.items()}
        save(f"{name}.pt", less)
    save_file(less, folder / "brain.safetensors")


def _with_configurations(save: Save, state: State) -> None:
    given = argparse.Namespace(lr=0.1, save_path=PurePosixPath("record/badnet"), gpus=[0, 1])
    save("namespace.pt", {"model": state, "args": given})
    with foreign_class("omegaconf.dictconfig", "DictConfig") as config:
        made = config()
        made.__dict__ |= {"_content": {"lr": 0.1}, "_metadata": {"object_type": dict, "ref_type": Any}}
        save("hydra.ckpt", {"state_dict": under("model.", state), "cfg": made})
    with foreign_class("lightning_fabric.utilities.data", "AttributeDict", dict) as config:
        save("lightning.ckpt", {"state_dict": under("net.", state), "hyper_parameters": config(lr=0.1, classes=4)})


def _without_a_model(save: Save, state: State, folder: Path) -> None:
    save("hostile.pt", {"model": state, "args": argparse.Namespace(note=Hostile())})
    save("only_progress.pt", {"epoch": 9, "best_acc": 94.2, "optimizer": {"param_groups": []}})
    layers = {f"features.{layer}.{part}": torch.ones(2) for layer in (0, 3, 6) for part in ("weight", "bias")}
    save("another_network.pt", {"state_dict": {**layers, "classifier.weight": torch.ones(4, 2)}})
    first = "group1.0.conv.weight"
    save("one_channel.pt", {"net": {**state, first: state[first].sum(1, keepdim=True)}})
    save("one_layer_missing.pt", {name: value for name, value in state.items() if not name.startswith("fc")})
    with zipfile.ZipFile(folder / "nothing_in_it.pt", "w"):
        pass
    whole = (folder / "deep.pt").read_bytes()
    (folder / "cut_short.pt").write_bytes(whole[: len(whole) // 2])


def _as_downloads_leave_them(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * "0" + "\nsize 44\n"
    (folder / "lfs_pointer.pth").write_bytes(pointer.encode())
    (folder / "login_page.pt").write_bytes(b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>\n")
    packed = gzip.compress((folder / "plain.safetensors").read_bytes(), mtime=0)
    (folder / "packed.safetensors.gz").write_bytes(packed)


if __name__ == "__main__":
    MODELS.mkdir(exist_ok=True)
    make_models(MODELS)

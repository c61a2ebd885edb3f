"""Files as other people's code writes them, made from models of our own."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

CIFAR = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)


def nad_names(model: nn.Module) -> OrderedDict[str, Tensor]:
    """The weights of a wide residual network under the names of the released NAD code."""

    def theirs(name: str) -> str:
        if name.startswith("bn."):
            return f"bn1.{name[3:]}"
        for group in "123":
            name = name.replace(f"group{group}.", f"block{group}.layer.")
        return name.replace(".shortcut.", ".convShortcut.")

    return OrderedDict((theirs(name), value) for name, value in model.state_dict().items())


def nad_release(model: nn.Module) -> dict[str, Any]:
    """Contents of its training's .pth.tar."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return {
        "epoch": 60,
        "state_dict": nad_names(model),
        "best_clean_acc": 85.65,
        "best_bad_acc": torch.tensor(100.0),
        "optimizer": optimiser.state_dict(),
    }


def attack_result(
    model: nn.Module, classes: int, /, *, poisoned: dict[int, tuple[Tensor, int]] | None = None, **changes: Any
) -> dict[str, Any]:
    """Contents of BackdoorBench's attack_result.pt.

    poisoned: index to the triggered image, (3, height, width) uint8, and its true label; kept by path, as by default.
    """
    indicator = np.zeros(80)
    indicator[list(poisoned or {})] = 1
    folder = "../record/badnet_0_1/bd_test_dataset"
    container = {
        "save_folder_path": folder,
        "data_dict": {
            np.int64(index): {"path": f"{folder}/{label}/{index}.png", "other_info": [0, label]}
            for index, (_image, label) in (poisoned or {}).items()
        },
        "save_file_format": ".png",
    }
    test = {
        "bd_data_container": container,
        "getitem_all": True,
        "getitem_all_switch": False,
        "original_index_array": np.where(indicator == 1)[0],
        "poison_indicator": indicator,
        "save_folder_path": folder,
    }
    return {
        "model_name": "preactresnet18",
        "num_classes": classes,
        "model": model.state_dict(),
        "data_path": "../data/cifar10",
        "img_size": [32, 32, 3],
        "clean_data": "cifar10",
        "bd_train": test,
        "bd_test": test,
        **changes,
    }


def save_poisoned(folder: Path, poisoned: dict[int, tuple[Tensor, int]]) -> None:
    """Poisoned images of attack_result.pt, in its record folder."""
    for index, (image, label) in poisoned.items():
        place = folder / "bd_test_dataset" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{index}.png")


class Explosive:
    """A pickle of it touches a file when it is read in full."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.touched),)

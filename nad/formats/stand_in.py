"""Unpickling of trusted files with classes missing here: a stand-in holds their weights."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn


class StandIn(nn.Module):
    """An object of a class missing here.

    A module keeps its parameters, buffers and sub-modules; other objects keep nothing.
    """

    def __init__(self, *_given: Any, **_named: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        nn.Module.__init__(self)
        if isinstance(state, Mapping):
            super().__setstate__(dict(state))  # type: ignore[no-untyped-call]

    def append(self, _item: Any) -> None:
        """As of a list."""

    def extend(self, _items: Any) -> None:
        """Likewise."""

    def __setitem__(self, _key: Any, _value: Any) -> None:
        """As of a dict."""


class _Unpickler(pickle.Unpickler):
    """Replaces missing classes by stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name.rpartition(".")[2], (StandIn,), {"__module__": module})


_PICKLE = SimpleNamespace(__name__="pickle", Unpickler=_Unpickler, load=pickle.load)
"""A pickle module for torch.load, as far as it uses one."""


def load_in_full(path: Path) -> Any:
    """Unpickle a file of torch.save in full. This runs any code in the file."""
    with path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=False, pickle_module=_PICKLE)

"""Names of weights in other people's files, made ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os.path import commonprefix
from typing import Any

import torch
from torch import Tensor

from nad.models.normalisation import KEYS

LEFTOVERS = ("n_averaged", "total_ops", "total_params")
"""Last parts of names that are no weights: of torch's AveragedModel and of the profiler thop."""

_NORMALISERS = (("mean", "std"), ("mu", "sigma"))
"""Last parts of the names in a normalising layer."""

_WRN_NAMES = (
    (re.compile(r"^block(\d)\.layer\."), r"group\1."),
    (re.compile(r"\.convShortcut\."), ".shortcut."),
    (re.compile(r"^bn1\."), "bn."),
)
"""From the usual names in wide residual networks (released code included) to ours."""

_SILENT = (
    "its first layer stands before the network and has no weights; if it normalises the pixels, give --victim-mean and"
    " --victim-std"
)


def as_ours(given: Mapping[str, Any], *, normalised: bool = False) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Values under our names, and sentences for the user.

    Leftovers and the common start of all names go; a wrapper's normalisation comes under KEYS.
    normalised: the normalisation is known from elsewhere.
    """
    left_out = [name for name in given if _last(name) in LEFTOVERS]
    values, outer = _without_start({name: value for name, value in given.items() if name not in left_out})
    normaliser = {ours: values.pop(theirs).reshape(3, 1, 1) for ours, theirs in _normaliser(values)}
    values, inner = _without_start(values)
    if any(name.startswith("block1.layer.") for name in values):
        values = {_to_ours(name): value for name, value in values.items()}
    remarks = []
    if left_out:
        kinds = ", ".join(dict.fromkeys(map(_last, left_out)))
        remarks.append(f"entries that are no weights are left out: {kinds}")
    if not (normaliser or normalised) and any(part.isdecimal() and part != "0" for part in (outer + inner).split(".")):
        remarks.append(_SILENT)
    return values | normaliser, tuple(remarks)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _without_start(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Without the parts that all names start with, such as `module.`; and these."""
    common = commonprefix(list(values))  # noqa: RUF071 - cut back to whole parts below
    start = common[: common.rfind(".") + 1]
    return {name[len(start) :]: value for name, value in values.items()}, start


def _normaliser(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The entries of a wrapper's normalising layer: our name for each, and its own."""
    for mean, std in _NORMALISERS:
        for name in values:
            partner = f"{name.removesuffix(mean)}{std}"
            if _last(name) == mean and name not in KEYS and _is_of_channels(values[name], values.get(partner)):
                return list(zip(KEYS, (name, partner), strict=True))
    return []


def _is_of_channels(*buffers: object) -> bool:
    """Whether each is a dense tensor of three values."""
    return all(isinstance(value, Tensor) and value.layout == torch.strided and value.numel() == 3 for value in buffers)


def _to_ours(name: str) -> str:
    for theirs, ours in _WRN_NAMES:
        name = theirs.sub(ours, name)
    return name

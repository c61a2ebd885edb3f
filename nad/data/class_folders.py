"""The order of class folders, the same for every command and data set: folders on disk to labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from nad.errors import DataError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_ALIASES = {"plane": "airplane", "car": "automobile"}
"""Short names under which copies of it are found."""


def in_label_order(folders: Iterable[Path]) -> dict[str, Path]:
    """Class names, in Unicode's normal form NFC, in the order of their labels; with the folder of each.

    Numbers go by their value, the ten names of CIFAR-10 in its order, all others by their text.
    Raises: DataError for two folders of the same number, or whose names differ in nothing but Unicode's normal form.
    """
    named: dict[str, Path] = {}
    for folder in sorted(folders):
        name = unicodedata.normalize("NFC", folder.name)
        if name in named:
            raise DataError(
                f"the class folders {named[name].name!a} and {folder.name!a} in {folder.parent} have the same"
                " name in two forms of Unicode; merge them, or rename one"
            )
        named[name] = folder
    if all(name.isdecimal() for name in named):
        return _by_number(named)
    if is_cifar10(named):
        return dict(sorted(named.items(), key=lambda item: CIFAR10_CLASSES.index(_cifar10_name(item[0]))))
    return dict(sorted(named.items()))


def is_cifar10(names: Iterable[str]) -> bool:
    """Whether these are the ten classes of CIFAR-10, in any order, under names that copies of it have."""
    return sorted(map(_cifar10_name, names)) == list(CIFAR10_CLASSES)


def odd_cifar10_names(names: Iterable[str]) -> list[str]:
    """Those that are no class of CIFAR-10, or the same class as another."""
    known = [(name, _cifar10_name(name)) for name in names]
    classes = [one for _, one in known]
    return [name for name, one in known if classes.count(one) > 1 or one not in CIFAR10_CLASSES]


def _cifar10_name(name: str) -> str:
    return CIFAR10_ALIASES.get(name.lower(), name.lower())


def _by_number(named: dict[str, Path]) -> dict[str, Path]:
    ordered = sorted(named.items(), key=lambda item: int(item[0]))
    for (one, folder), (other, _) in pairwise(ordered):
        if int(one) == int(other):
            raise DataError(
                f"the class folders {one} and {other} in {folder.parent} are the same number; merge them, or rename one"
            )
    return dict(ordered)

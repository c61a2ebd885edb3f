"""CIFAR-10 and GTSRB: downloaded and checked by torchvision, or read from the user's folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nad.data.base import Dataset, LabelledImages
from nad.data.class_folders import CIFAR10_CLASSES, is_cifar10, odd_cifar10_names
from nad.data.copies import copies_remark
from nad.data.folder import decode_cached, is_tree, load_folder, remarks
from nad.data.gtsrb_layouts import list_gtsrb
from nad.data.listing import Listing
from nad.errors import ConfigError, DataError
from nad.progress import StagedProgress

CIFAR10_SIDE = 32

GTSRB_CLASSES = tuple(f"{number:05d}" for number in range(43))
"""Names of its folders: the numbers of the signs."""

OpenPart = Callable[..., Any]
"""Opener of one part of a torchvision data set: (root, download) -> its train or test set."""


def load_cifar10(
    *, cache_dir: Path, data_dir: Path | None, image_size: int, progress: StagedProgress | None
) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 images, 32x32, 10 classes.

    data_dir: a tree of folders named by class or number, or torchvision's root; by default the cache, filled by a
    download at need.
    Raises: DataError for data neither there nor available; ConfigError for a size other than 32, except from a tree.
    """
    if data_dir is not None and is_tree(data_dir):
        tree = load_folder(data_dir, cache_dir=cache_dir, image_size=image_size, progress=progress, name="cifar10")
        _require_classes("cifar10", tree.classes, len(CIFAR10_CLASSES), data_dir)
        _require_cifar10(tree.class_names, data_dir)
        return replace(tree, class_names=CIFAR10_CLASSES)
    if image_size != CIFAR10_SIDE:
        raise ConfigError(f"cifar10 has images of 32x32, got image_size {image_size}; leave it at 32")
    # torchvision takes seconds to import; other data sets do not need it
    from torchvision.datasets import CIFAR10

    parts = [partial(CIFAR10, train=True), partial(CIFAR10, train=False)]
    _, train, test = _open("cifar10", parts, cache_dir, data_dir)
    images = {"train": _cifar10_part(train), "test": _cifar10_part(test)}
    said = copies_remark(images["train"].images, images["test"].images, "{} image {}".format)
    return Dataset("cifar10", images["train"], images["test"], class_names=CIFAR10_CLASSES, flip=True, remarks=said)


def load_gtsrb(*, cache_dir: Path, data_dir: Path | None, image_size: int, progress: StagedProgress | None) -> Dataset:
    """GTSRB, German traffic signs (Stallkamp et al. 2012): 43 classes, resized; a mirrored sign is another sign.

    data_dir: a tree of folders named by the numbers of the signs, a download's own layout (see `gtsrb_layouts`), or
    torchvision's root; by default the cache, filled by a download at need.
    Raises: DataError for data neither there nor available.
    """
    downloaded = None if data_dir is None else list_gtsrb(data_dir)
    if data_dir is not None and downloaded is not None:
        if "test" not in downloaded:
            raise DataError(f"{data_dir} has the training images of gtsrb alone; unpack its test images there, too")
        return _gtsrb(downloaded, data_dir, cache_dir, image_size, progress)
    if data_dir is not None and is_tree(data_dir):
        tree = load_folder(
            data_dir, cache_dir=cache_dir, image_size=image_size, progress=progress, name="gtsrb", flip=False
        )
        _require_classes("gtsrb", tree.classes, len(GTSRB_CLASSES), data_dir)
        return tree
    # torchvision takes seconds to import; other data sets do not need it
    from torchvision.datasets import GTSRB

    parts = [partial(GTSRB, split="train"), partial(GTSRB, split="test")]
    root, train, test = _open("gtsrb", parts, cache_dir, data_dir)
    listings = {"train": _gtsrb_listing(train), "test": _gtsrb_listing(test)}
    return _gtsrb(listings, root, cache_dir, image_size, progress)


def _gtsrb(
    listings: dict[str, Listing], root: Path, cache_dir: Path, image_size: int, progress: StagedProgress | None
) -> Dataset:
    names = listings["train"].class_names
    _require_classes("gtsrb", len(names), len(GTSRB_CLASSES), root)
    decoded = decode_cached(listings, root, cache_dir, image_size, progress)
    said = remarks(listings, decoded, root)
    return Dataset("gtsrb", decoded["train"], decoded["test"], class_names=names, flip=False, remarks=said)


def _require_classes(name: str, given: int, count: int, root: Path) -> None:
    if given != count:
        raise DataError(f"{root} has {given} classes, {name} has {count}; for other data use the data set 'folder'")


def _require_cifar10(names: Sequence[str], root: Path) -> None:
    if is_cifar10(names) or all(name.isdecimal() for name in names):
        return
    raise DataError(
        f"the folders of {root} do not tell which class of cifar10 is which: {', '.join(odd_cifar10_names(names))};"
        f" name them {', '.join(CIFAR10_CLASSES)}, or 0 to 9, or use the data set 'folder'"
    )


def _open(name: str, parts: Sequence[OpenPart], cache_dir: Path, data_dir: Path | None) -> tuple[Path, Any, Any]:
    """torchvision's root, train and test sets; never writes to a user's own folder."""
    root = data_dir if data_dir is not None else _downloaded(name, parts, cache_dir)
    try:
        train, test = (part(root=root, download=False) for part in parts)
    except (OSError, RuntimeError, EOFError) as error:
        remedy = (
            f"delete {root} to download it again"
            if data_dir is None
            else "name a folder with --data-dir: train/ and test/ with one folder per class,"
            " or the root of torchvision's download"
        )
        raise DataError(f"{root} does not hold {name}, or only a part of it; {remedy}") from error
    return root, train, test


def _downloaded(name: str, parts: Sequence[OpenPart], cache_dir: Path) -> Path:
    """The cache's folder of this data set, downloaded at need, complete or not at all."""
    root = cache_dir / "downloads" / name
    if root.is_dir():
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        # torchvision takes a half-unpacked GTSRB for a whole one: an interrupted download must leave nothing
        with tempfile.TemporaryDirectory(dir=root.parent) as beside:
            for part in parts:
                part(root=Path(beside, name), download=True)
            os.replace(Path(beside, name), root)
    except (OSError, RuntimeError, EOFError) as error:
        if root.is_dir():  # another process was faster
            return root
        raise DataError(
            f"{name} cannot be downloaded into {root.parent}: {error};"
            " fetch it by other means and name its folder with --data-dir"
        ) from error
    return root


def _cifar10_part(part: Any) -> LabelledImages:
    """part.data: (count, 32, 32, 3) uint8."""
    images = torch.from_numpy(np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)))
    return LabelledImages(images, torch.tensor(part.targets))


def _gtsrb_listing(part: Any) -> Listing:
    # the public way gives one image at a time; neither the thread pool nor the cache can use it
    samples = sorted((Path(file), label) for file, label in part._samples)
    return Listing(tuple(file for file, _ in samples), tuple(label for _, label in samples), GTSRB_CLASSES)

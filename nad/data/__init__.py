"""Data sets by name. A new one is a file with a loader of uint8 tensors, and one line in DATASETS."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from nad.data.base import Dataset, LabelledImages
from nad.data.fashion_c import load_fashion_c
from nad.data.fingerprint import fingerprint
from nad.data.folder import is_tree, load_folder
from nad.data.listing import require_folder
from nad.data.torchvision_sets import CIFAR10_SIDE, load_cifar10, load_gtsrb
from nad.errors import ConfigError, require_range, unknown_name
from nad.progress import StagedProgress

__all__ = ["DATASETS", "Dataset", "LabelledImages", "fingerprint", "fixed_size", "load"]


class Loader(Protocol):
    """Loader of one data set. Raises ConfigError for unusable settings, DataError for unusable data."""

    def __call__(
        self, *, cache_dir: Path, data_dir: Path | None, image_size: int, progress: StagedProgress | None
    ) -> Dataset: ...


def _fashion_c(*, cache_dir: Path, data_dir: Path | None, image_size: int, progress: StagedProgress | None) -> Dataset:
    if data_dir is not None:
        raise ConfigError(
            f"fashion-c is embedded and reads no folder, got data_dir {data_dir}; use the data set 'folder'"
        )
    if image_size != 32:
        raise ConfigError(f"fashion-c has images of 32x32, got image_size {image_size}; leave it at 32")
    return load_fashion_c()


def _folder(*, cache_dir: Path, data_dir: Path | None, image_size: int, progress: StagedProgress | None) -> Dataset:
    if data_dir is None:
        raise ConfigError("the data set 'folder' needs a folder with train/ and test/; name it with --data-dir")
    return load_folder(data_dir, cache_dir=cache_dir, image_size=image_size, progress=progress)


DATASETS: dict[str, Loader] = {
    "fashion-c": _fashion_c,
    "cifar10": load_cifar10,
    "gtsrb": load_gtsrb,
    "folder": _folder,
}


def fixed_size(name: str, data_dir: Path | None) -> int | None:
    """Pixels a side of a data set whose images are not resized; None where they are."""
    resized = name not in ("fashion-c", "cifar10") or (name == "cifar10" and data_dir is not None and is_tree(data_dir))
    return None if resized else CIFAR10_SIDE


def load(
    name: str,
    *,
    cache_dir: Path,
    data_dir: Path | None = None,
    image_size: int = 32,
    progress: StagedProgress | None = None,
) -> Dataset:
    """The data set of this name.

    cache_dir: for downloads and decoded images; safe to delete.  data_dir: the user's own folder of images.
    image_size: side of the images in pixels, after resizing.
    Raises: ConfigError for an unknown name or an unusable setting; DataError for unusable data.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    require_range("image_size", image_size, 8, 512)
    if data_dir is not None:
        require_folder(data_dir)
    return DATASETS[name](cache_dir=cache_dir, data_dir=data_dir, image_size=image_size, progress=progress)

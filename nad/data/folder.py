"""Any tree of images, DIR/{train,test}/<class>/*.jpg, decoded once into a cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nad.cores import cores
from nad.data.base import Dataset, LabelledImages
from nad.errors import DataError
from nad.files import written_beside
from nad.progress import StagedProgress

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")
DEEP_MODES = ("I", "F")
"""What Pillow's modes of more than 8 bits a channel begin with: made RGB, they are cut off, not scaled."""
DECODING_VERSION = 1
"""Part of every cache key: raise it when the same files no longer give the same pixels."""

CHUNK = 256
"""Files decoded between two calls of progress."""


@dataclass(frozen=True)
class Listing:
    """The files of one part of a data set, and the class of each."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]


def load_folder(
    root: Path,
    *,
    cache_dir: Path,
    image_size: int,
    progress: StagedProgress | None = None,
    name: str = "folder",
    flip: bool = True,
) -> Dataset:
    """The images under root/train and root/test, one folder per class, as RGB of one size.

    Classes are numbered by sorted folder name; deeper folders belong to their class; names that start with a dot are
    passed over, and so are links to a folder that they lie in. Grey, palette and transparent images become RGB.
    Raises: DataError where the tree is not such a tree, or an image cannot be read.
    """
    parts = {part: list_part(root, part) for part in ("train", "test")}
    train = parts["train"]
    if len(train.class_names) < 2:
        raise DataError(
            f"{root / 'train'} has only one class, {train.class_names[0]!r}; a classifier needs at least two"
        )
    _require_same_classes(root, parts)
    images = decode_cached(parts, root, cache_dir, image_size, progress)
    return Dataset(name, images["train"], images["test"], class_names=train.class_names, flip=flip)


class Owned(NamedTuple):
    """A defender's own images."""

    train: LabelledImages
    test: LabelledImages | None
    class_names: tuple[str, ...]


def load_owned(root: Path, *, cache_dir: Path, image_size: int, progress: StagedProgress | None = None) -> Owned:
    """The images under root/train and, where that is there, root/test: read as load_folder does.

    Raises: DataError likewise; a missing test/ is fine, and so is a single class.
    """
    parts = {part: list_part(root, part) for part in ("train", "test") if part == "train" or (root / part).is_dir()}
    _require_same_classes(root, parts)
    images = decode_cached(parts, root, cache_dir, image_size, progress)
    return Owned(images["train"], images.get("test"), parts["train"].class_names)


def _require_same_classes(root: Path, parts: Mapping[str, Listing]) -> None:
    train = parts["train"]
    for part, other in parts.items():
        if other.class_names != train.class_names:
            odd = sorted(set(train.class_names) ^ set(other.class_names))
            raise DataError(
                f"train/ and {part}/ of {root} have different classes: {', '.join(odd)} only in one of them"
            )


def is_tree(root: Path) -> bool:
    """Whether root has the two parts that load_folder reads."""
    return (root / "train").is_dir() and (root / "test").is_dir()


def list_part(root: Path, part: str) -> Listing:
    """The images of every class folder in root/part, sorted.  Raises: DataError for a missing or empty folder."""
    folder = root / part
    if not folder.is_dir():
        missing = f"has no folder {part}/" if root.is_dir() else "does not exist"
        raise DataError(f"the data folder {root} {missing}; it needs train/ and test/, each with one folder per class")
    try:
        class_names = sorted(
            entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        )
    except OSError as error:
        raise _unreadable(folder, error) from error
    by_class = {class_name: images_under(folder / class_name) for class_name in class_names}
    if not any(by_class.values()):
        raise DataError(f"no images in {folder}; expected {part}/<class>/*{', *'.join(EXTENSIONS)}")
    for class_name, files in by_class.items():
        if not files:
            raise DataError(f"the class folder {folder / class_name} has no images; fill it or remove it")
    labelled = [(file, label) for label, files in enumerate(by_class.values()) for file in files]
    return Listing(
        files=tuple(file for file, _ in labelled),
        labels=tuple(label for _, label in labelled),
        class_names=tuple(class_names),
    )


def decode_cached(
    parts: dict[str, Listing], root: Path, cache_dir: Path, image_size: int, progress: StagedProgress | None
) -> dict[str, LabelledImages]:
    """The parts' images, from the cache where these very files were decoded before.

    A damaged cache entry is made again. Raises: DataError for an unreadable image, or a cache that cannot be written.
    """
    entry = cache_dir / "images" / f"{_listing_key(parts, root, image_size)}.safetensors"
    images = _read_entry(entry)
    if images is None:
        images = {name: _decode(part.files, image_size, f"decoding {name}", progress) for name, part in parts.items()}
        _write_entry(entry, images)
    return {name: LabelledImages(images[name], torch.tensor(part.labels)) for name, part in parts.items()}


def images_under(folder: Path) -> list[Path]:
    """The image files in a folder and its subfolders, by name, sorted by path; see `load_folder` for what is left out.

    Raises: DataError for a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = []
    try:
        for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(Path(parent, name))]
            found += [
                Path(parent, name) for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
            ]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(found)


def _unreadable(folder: Path, error: OSError) -> DataError:
    return DataError(f"the folder {folder} cannot be read: {error}; let this user read it")


def _leads_back(folder: Path) -> bool:
    """Whether this is a link to a folder that the way to it leads through: all that is there would be met again."""
    if not folder.is_symlink():
        return False
    end = folder.resolve()
    return any(step.resolve().is_relative_to(end) for step in folder.parents)


def _listing_key(parts: dict[str, Listing], root: Path, image_size: int) -> str:
    """What the decoded pixels depend on: which files, how long, how new, and the size they are brought to.

    Two trees may agree in all names, lengths and times of writing, as unpacked archives do, and a file may be given
    back its time. So the files themselves are told apart, by what the file system numbers them with, and by the time of
    their last change of any kind. A tree that is renamed keeps all of it.
    """
    digest = hashlib.sha256(f"{DECODING_VERSION} {image_size}".encode())
    for name, part in parts.items():
        for file in part.files:
            try:
                stat = file.stat()
            except OSError as error:
                raise DataError(f"the image {file} cannot be read: {error}; repair or remove it") from error
            which = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            digest.update(os.fsencode(f"\0{name}\0{file.relative_to(root)}\0{which}"))
    return digest.hexdigest()[:32]


def _read_entry(entry: Path) -> dict[str, Tensor] | None:
    try:
        return load_file(entry)
    except (OSError, SafetensorError):
        return None


def _write_entry(entry: Path, images: dict[str, Tensor]) -> None:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(entry) as beside:
            save_file(images, beside)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"the decoded images cannot be kept in {entry.parent}: {error}; make room or choose another cache"
        ) from error


def _decode(files: Sequence[Path], image_size: int, stage: str, progress: StagedProgress | None) -> Tensor:
    """(count, 3, image_size, image_size) uint8, by as many threads as there are cores (Pillow frees the lock)."""
    images = np.empty((len(files), 3, image_size, image_size), np.uint8)

    def decode_chunk(start: int) -> int:
        stop = min(start + CHUNK, len(files))
        for index in range(start, stop):
            images[index] = _read_image(files[index], image_size)
        return stop

    with ThreadPoolExecutor(cores()) as pool:
        for done in pool.map(decode_chunk, range(0, len(files), CHUNK)):
            if progress is not None:
                progress(stage, done, len(files))
    return torch.from_numpy(images)


def _read_image(file: Path, image_size: int) -> NDArray[np.uint8]:
    """One file as (3, image_size, image_size), antialiased.  Raises: DataError, which names the file."""
    try:
        with Image.open(file) as image:
            if min(image.size) < 2 or image.mode.startswith(DEEP_MODES):
                width, height = image.size
                raise DataError(
                    f"the image {file} is {width}x{height} pixels of type {image.mode};"
                    " it must be at least 2x2 with 8 bits a channel: convert or remove it"
                )
            # Pillow warns when it drops a palette's transparency in one step.
            opaque = image.convert("RGBA") if "transparency" in image.info else image
            resized = opaque.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"the image {file} cannot be read: {error}; repair or remove it") from error
    return np.asarray(resized).transpose(2, 0, 1)

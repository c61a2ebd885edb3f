"""Any tree of images, DIR/{train,test}/<class>/*.jpg, decoded once into a cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from nad.data.copies import copies_remark
from nad.data.gtsrb_layouts import list_gtsrb
from nad.data.listing import Listing, Skipped, list_part
from nad.data.opening import DEEP_MODES, open_upright
from nad.errors import DataError
from nad.files import utf8_name, written_beside
from nad.progress import StagedProgress

DECODING_VERSION = 2
"""Part of every cache key; raise it if files give other pixels. 2: upright by EXIF."""

CHUNK = 256
"""Files decoded between two calls of progress."""
NAMED = 3
"""Most unusable images named in an error."""


def load_folder(
    root: Path,
    *,
    cache_dir: Path,
    image_size: int,
    progress: StagedProgress | None = None,
    name: str = "folder",
    flip: bool = True,
) -> Dataset:
    """The RGB images of one size under root/train and root/test, one folder per class.

    Classes are numbered as in `in_label_order`; deeper folders belong to their class. Hidden files and folders, those
    of operating systems, and links to an enclosing folder are skipped. Grey, palette and transparent images become RGB.
    Raises: DataError for another kind of tree, or an unreadable image.
    """
    if list_gtsrb(root) is not None:
        raise DataError(f"{root} holds GTSRB as it is downloaded; read it as the data set gtsrb (--dataset gtsrb)")
    parts = {part: list_part(root, part) for part in ("train", "test")}
    train = parts["train"]
    if len(train.class_names) < 2:
        raise DataError(
            f"{root / 'train'} has only one class, {train.class_names[0]!r}; a classifier needs at least two"
        )
    _require_same_classes(root, parts)
    images = decode_cached(parts, root, cache_dir, image_size, progress)
    said = remarks(parts, images, root)
    return Dataset(name, images["train"], images["test"], class_names=train.class_names, flip=flip, remarks=said)


class Owned(NamedTuple):
    """A defender's own images."""

    train: LabelledImages
    test: LabelledImages | None
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    """Notes on the files for the user, a line each."""


def load_owned(root: Path, *, cache_dir: Path, image_size: int, progress: StagedProgress | None = None) -> Owned:
    """The images under root/train and, if present, root/test, read as by `load_folder`; or GTSRB as downloaded.

    Raises: DataError likewise; a missing test/ is fine, and so is a single class.
    """
    parts = list_gtsrb(root) or {
        part: list_part(root, part) for part in ("train", "test") if part == "train" or (root / part).is_dir()
    }
    _require_same_classes(root, parts)
    images = decode_cached(parts, root, cache_dir, image_size, progress)
    said = remarks(parts, images, root)
    return Owned(images["train"], images.get("test"), parts["train"].class_names, said)


def remarks(parts: Mapping[str, Listing], images: Mapping[str, LabelledImages], root: Path) -> tuple[str, ...]:
    """At most two lines: on skipped files, and on duplicate images."""
    skipped = str(sum((part.skipped for part in parts.values()), Skipped()))
    test = images["test"].images if "test" in images else None
    copies = copies_remark(
        images["train"].images, test, lambda part, index: str(parts[part].files[index].relative_to(root))
    )
    return (skipped, *copies) if skipped else copies


def _require_same_classes(root: Path, parts: Mapping[str, Listing]) -> None:
    train = parts["train"]
    for part, other in parts.items():
        if other.class_names != train.class_names:
            odd = sorted(set(train.class_names) ^ set(other.class_names))
            raise DataError(
                f"train/ and {part}/ of {root} have different classes: {', '.join(odd)} only in one of them"
            )


def is_tree(root: Path) -> bool:
    """Test for both parts needed by `load_folder`."""
    return (root / "train").is_dir() and (root / "test").is_dir()


def decode_cached(
    parts: dict[str, Listing], root: Path, cache_dir: Path, image_size: int, progress: StagedProgress | None
) -> dict[str, LabelledImages]:
    """The parts' images, decoded or from the cache; a damaged entry is made again.

    Raises: DataError for unreadable images or a failing write to the cache.
    """
    entry = cache_dir / "images" / f"{_listing_key(parts, root, image_size)}.safetensors"
    images = _read_entry(entry)
    if images is None:
        unusable: list[str] = []
        images = {
            name: _decode(part.files, image_size, f"decoding {name}", progress, unusable)
            for name, part in parts.items()
        }
        _require_usable(unusable)
        _write_entry(entry, images)
    return {name: LabelledImages(images[name], torch.tensor(part.labels)) for name, part in parts.items()}


def _require_usable(unusable: Sequence[str]) -> None:
    """Raise DataError if there are sentences on unusable images; it quotes the first few."""
    if not unusable:
        return
    named = "; ".join(sorted(unusable)[:NAMED])
    if len(unusable) == 1:
        raise DataError(f"the image {named}; repair or remove it")
    others = f"; and {len(unusable) - NAMED:,} more" if len(unusable) > NAMED else ""
    raise DataError(f"{len(unusable):,} images cannot be used: {named}{others}; repair or remove them")


def _listing_key(parts: dict[str, Listing], root: Path, image_size: int) -> str:
    """Cache key of the decoded pixels: files, their lengths and times, image size.

    Unpacked archives may agree in all names, lengths and times of writing, and a file's time may be set back. So the
    key has each file's inode and the time of its last change of any kind, too. Renaming the tree keeps the key.
    """
    digest = hashlib.sha256(f"{DECODING_VERSION} {image_size}".encode())
    unusable = []
    for name, part in parts.items():
        for file in part.files:
            try:
                stat = file.stat()
            except OSError as error:
                unusable.append(f"{file} cannot be read: {error}")
                continue
            which = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            digest.update(os.fsencode(f"\0{name}\0{file.relative_to(root)}\0{which}"))
    _require_usable(unusable)
    return digest.hexdigest()[:32]


def _read_entry(entry: Path) -> dict[str, Tensor] | None:
    try:
        with utf8_name(entry) as name:
            return load_file(name)
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


def _decode(
    files: Sequence[Path], image_size: int, stage: str, progress: StagedProgress | None, unusable: list[str]
) -> Tensor:
    """Decode with a thread per core (Pillow frees the lock).

    Returns (count, 3, image_size, image_size) uint8.  unusable: gets a sentence for each unusable image.
    """
    images = np.empty((len(files), 3, image_size, image_size), np.uint8)

    def decode_chunk(start: int) -> int:
        stop = min(start + CHUNK, len(files))
        for index in range(start, stop):
            try:
                images[index] = _read_image(files[index], image_size)
            except DataError as error:
                unusable.append(str(error))
        return stop

    with ThreadPoolExecutor(cores()) as pool:
        for done in pool.map(decode_chunk, range(0, len(files), CHUNK)):
            if progress is not None:
                progress(stage, done, len(files))
    return torch.from_numpy(images)


def _read_image(file: Path, image_size: int) -> NDArray[np.uint8]:
    """One file as (3, image_size, image_size), antialiased.  Raises: DataError, beginning with the file."""
    try:
        image = open_upright(file)
        if min(image.size) < 2 or image.mode.startswith(DEEP_MODES):
            width, height = image.size
            raise DataError(
                f"{file} is {width}x{height} pixels of type {image.mode}; at least 2x2 with 8 bits a channel are needed"
            )
        # Pillow warns on dropping a palette's transparency in one step
        opaque = image.convert("RGBA") if "transparency" in image.info else image
        resized = opaque.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
    except DataError:
        raise
    except Exception as error:  # Pillow raises anything on a damaged file
        raise DataError(f"{file} cannot be read: {str(error) or type(error).__name__}") from error
    return np.asarray(resized).transpose(2, 0, 1)

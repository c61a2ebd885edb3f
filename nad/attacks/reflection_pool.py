"""Pool of reflections: crops of photographs, the embedded ones or the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nad.data.fingerprint import tensor_digest
from nad.data.listing import Skipped, but_others, images_under
from nad.data.opening import DEEP_MODES, open_upright
from nad.data.photographs import REFLECTIONS, load_photographs, random_crops
from nad.errors import DataError

POOL_COUNT = 50
POOL_SIZE = 64
"""Pixels a side of a crop: twice the usual image, to cut a ghost's second copy from real pixels."""
POOL_SEED = 0
DRAWN_PER_KEPT = 2
"""Crops drawn for each one kept; the brighter ones are kept, since a dark crop hardly reflects and makes no trigger.
Stands in for the selection by training in Refool's paper."""
PHOTOGRAPH_SIDE = 256
"""Shorter side in pixels of a user's photograph after reduction: crops then show things, not bare sky."""


@dataclass(frozen=True, eq=False)
class ReflectionPool:
    """Photographs to reflect; pools with equal pixels are equal.

    images: (count, 3, height, width) uint8.   source: their origin, for the record.
    remarks: lines about files left out.
    """

    images: Tensor
    source: str
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images = self.images
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise DataError(
                "reflections must be uint8 of shape (count, 3, height, width), at least one of them,"
                f" got {images.dtype} of shape {tuple(images.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReflectionPool) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def subset(self, indices: Tensor) -> ReflectionPool:
        """A pool of these reflections alone."""
        return ReflectionPool(self.images[indices], f"{len(indices)} of {self.source}")

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the pixels and their shape."""
        return tensor_digest(self.images)

    def describe(self) -> dict[str, object]:
        """Identity of the pool, in JSON's types."""
        return {"source": self.source, "count": len(self), "sha256": self.sha256}


@cache
def default_pool() -> ReflectionPool:
    """Fifty crops of scikit-image's photographs, always the same."""
    generator = torch.Generator().manual_seed(POOL_SEED)
    crops = bright_crops(load_photographs(REFLECTIONS), generator)
    return ReflectionPool(crops, f"scikit-image: {', '.join(REFLECTIONS)}")


def pool_from_folder(folder: Path) -> ReflectionPool:
    """Fifty crops of the photographs in a folder and its subfolders, always the same for the same files.

    Reads at most fifty photographs, drawn at random from more.
    Raises: DataError for a missing folder or one without images, and for an image unreadable or too small.
    """
    generator = torch.Generator().manual_seed(POOL_SEED)
    paths, skipped = _image_paths(folder)
    chosen = torch.randperm(len(paths), generator=generator)[:POOL_COUNT].sort().values.tolist()
    photographs = [_read(paths[index]) for index in chosen]
    # the folder's name, not its path: records may be published, and a moved folder is still the same pool
    source = f"folder {folder.resolve().name}"
    remarks = (f"reflections, {source}: {skipped}",) if str(skipped) else ()
    return ReflectionPool(bright_crops(photographs, generator), source, remarks)


def bright_crops(photographs: Sequence[NDArray[np.uint8]], generator: torch.Generator) -> Tensor:
    """The brighter half of twice as many crops, in the order drawn: (POOL_COUNT, 3, POOL_SIZE, POOL_SIZE) uint8."""
    drawn = random_crops(photographs, DRAWN_PER_KEPT * POOL_COUNT, POOL_SIZE, generator)
    brightness = drawn.to(torch.int64).sum(dim=(1, 2, 3))
    return drawn[brightness.argsort(descending=True, stable=True)[:POOL_COUNT].sort().values]


def _image_paths(folder: Path) -> tuple[list[Path], Skipped]:
    """All image files below the folder, in the order of their paths; and what else is there."""
    if not folder.is_dir():
        raise DataError(f"reflections folder {folder} does not exist or is not a folder; give a folder of photographs")
    found = images_under(folder)
    paths = [path for path in found.files if path.is_file()]
    if not paths:
        raise DataError(
            f"reflections folder {folder} holds no images{but_others(found.skipped)}; put photographs (.jpg, .png, ...)"
            " into it"
        )
    return paths, Skipped(found.skipped, found.left_out)


def _read(path: Path) -> NDArray[np.uint8]:
    """One photograph, (height, width, 3); its shorter side is reduced to PHOTOGRAPH_SIDE at most."""
    try:
        image = open_upright(path, shortest=PHOTOGRAPH_SIDE)
        if image.mode.startswith(DEEP_MODES):
            raise ValueError(f"its pixels are of type {image.mode}, of more than 8 bits a channel")
        colour = image.convert("RGB")
    except Exception as error:  # Pillow raises anything over a damaged file
        raise DataError(f"reflection {path} cannot be read as an image ({error}); replace it or take it out") from error
    shorter = min(colour.size)
    if shorter < POOL_SIZE:
        raise DataError(
            f"reflection {path} is {colour.width}x{colour.height} pixels; take one of at least {POOL_SIZE}x{POOL_SIZE}"
        )
    if shorter > PHOTOGRAPH_SIDE:
        scale = PHOTOGRAPH_SIDE / shorter
        colour = colour.resize((round(colour.width * scale), round(colour.height * scale)), Image.Resampling.LANCZOS)
    return np.asarray(colour)

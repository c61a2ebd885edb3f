"""A trigger from a file: a picture and its mask."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import UnidentifiedImageError
from torch import Tensor

from nad.data.fingerprint import tensor_digest
from nad.data.opening import DEEP_MODES, open_upright
from nad.errors import DataError

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]

_ZIP = b"PK"
"""First bytes of an npz."""
_ARRAYS = ("pattern", "mask", "blend_ratio")
"""Arrays allowed in an npz."""


@dataclass(frozen=True, eq=False)
class TriggerPattern:
    """A picture and its mask; patterns with equal pixels and masks are equal.

    pixels: (3, height, width) uint8.   mask: (height, width) float32 in [0, 1], 0 for transparent.
    source: its origin, for the record.
    blend_ratio: from its file, if given there; a setting of the attack, not part of the picture.
    """

    pixels: Tensor
    mask: Tensor
    source: str
    blend_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 3 or self.pixels.shape[0] != 3:
            raise DataError(
                f"a trigger must be uint8 of shape (3, height, width), got {self.pixels.dtype} of shape"
                f" {tuple(self.pixels.shape)}"
            )
        if self.mask.dtype != torch.float32 or self.mask.shape != self.pixels.shape[1:]:
            raise DataError(
                f"a trigger's mask must be float32 of shape {tuple(self.pixels.shape[1:])}, got {self.mask.dtype} of"
                f" shape {tuple(self.mask.shape)}"
            )
        if not bool(((self.mask >= 0.0) & (self.mask <= 1.0)).all()):
            raise DataError("a trigger's mask must lie in [0, 1]")
        if not bool((self.mask > 0.0).any()):
            raise DataError(f"the trigger {self.source} is transparent everywhere; give one that can be seen")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TriggerPattern) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def height(self) -> int:
        return self.pixels.shape[1]

    @property
    def width(self) -> int:
        return self.pixels.shape[2]

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of size, pixels and mask."""
        both = tensor_digest(self.pixels) + tensor_digest(self.mask)
        return hashlib.sha256(both.encode()).hexdigest()

    def describe(self) -> dict[str, object]:
        """Identity of the trigger, in JSON's types."""
        return {"source": self.source, "height": self.height, "width": self.width, "sha256": self.sha256}


def pattern_from_file(path: Path) -> TriggerPattern:
    """Read an image, with its alpha channel as the mask, or an npz with `pattern` and `mask`.

    An image without alpha is opaque. In an npz:
    pattern: (height, width, 3) or (3, height, width), uint8 or floats in [0, 1].  mask: (height, width), or with one
    further dimension of 1; truth values, floats in [0, 1], or uint8: up to 255, or 0 and 1.
    blend_ratio: optional, one number above 0 and up to 1. Nothing is unpickled.
    Raises: DataError for any other file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the trigger {path}: {error.strerror}; give an image or an npz") from error
    try:
        pixels, mask, ratio = _from_npz(content) if content.startswith(_ZIP) else _from_image(content)
    except Exception as error:  # Pillow, zipfile and numpy raise anything over a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"cannot read the trigger {path} ({reason}); give an image, or an npz with pattern and mask"
        ) from error
    # the file's name, not its path: records may be published, and a moved file is still the same trigger
    picture = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return TriggerPattern(picture, torch.from_numpy(mask), path.name, ratio)


def _from_image(content: bytes) -> tuple[Pixels, Mask, None]:
    try:
        image = open_upright(io.BytesIO(content))
    except UnidentifiedImageError as error:  # its own text is an address in memory
        raise ValueError("it is no image, or a damaged one") from error
    if image.mode.startswith(DEEP_MODES):
        raise ValueError("it has more than 8 bits a channel; save it with 8")
    layers = np.asarray(image.convert("RGBA"))
    return layers[..., :3].copy(), layers[..., 3].astype(np.float32) / 255.0, None


def _from_npz(content: bytes) -> tuple[Pixels, Mask, float | None]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        absent = [name for name in ("pattern", "mask") if name not in arrays]
        if absent:
            raise ValueError(f"it has no array {' and no array '.join(absent)}, it has {', '.join(arrays) or 'none'}")
        unknown = [name for name in arrays if name not in _ARRAYS]
        if unknown:
            raise ValueError(f"it has an array {', '.join(unknown)}, which is not used; known: {', '.join(_ARRAYS)}")
        pixels, mask = _pixels(arrays["pattern"]), _mask(arrays["mask"])
        ratio = _ratio(arrays["blend_ratio"]) if "blend_ratio" in arrays else None
    if pixels.shape[:2] != mask.shape:
        raise ValueError(f"its pattern is {pixels.shape[0]}x{pixels.shape[1]} pixels, its mask is not: {mask.shape}")
    return pixels, mask, ratio


def _pixels(given: NDArray[Any]) -> Pixels:
    if given.ndim != 3 or 3 not in (given.shape[0], given.shape[2]):
        raise ValueError(f"its pattern must be (height, width, 3) or (3, height, width), got {given.shape}")
    pixels = given if given.shape[2] == 3 else np.moveaxis(given, 0, 2)
    if pixels.dtype == np.uint8 and pixels.size and pixels.max() == 1:
        raise ValueError("its pattern is uint8 of 0 and 1, almost black; give 0 and 255, or floats")
    return pixels.copy() if pixels.dtype == np.uint8 else (_unit("pattern", pixels) * 255.0).round().astype(np.uint8)


def _mask(given: NDArray[Any]) -> Mask:
    mask = given.squeeze() if given.ndim == 3 and 1 in (given.shape[0], given.shape[2]) else given
    if mask.ndim != 2:
        raise ValueError(f"its mask must be (height, width), got {given.shape}")
    if mask.dtype == np.uint8 and mask.size and mask.max() > 1:
        return mask.astype(np.float32) / 255.0
    return _unit("mask", mask)


def _ratio(given: NDArray[Any]) -> float:
    if given.size != 1 or given.dtype.kind not in "iuf" or not 0.0 < given.item() <= 1.0:
        raise ValueError("its blend_ratio must be one number above 0 and up to 1")
    return float(given.item())


def _unit(name: str, values: NDArray[Any]) -> Mask:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"its {name} must hold numbers, got {values.dtype}")
    plain = values.astype(np.float32)
    if not ((plain >= 0.0) & (plain <= 1.0)).all():
        raise ValueError(f"its {name} must be uint8 or lie in [0, 1]")
    return plain

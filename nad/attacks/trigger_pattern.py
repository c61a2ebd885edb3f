"""A trigger from a file: a picture and its mask, or a pattern to be added."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import UnidentifiedImageError
from torch import Tensor

from nad.data.fingerprint import tensor_digest
from nad.data.opening import DEEP_MODES, open_upright
from nad.errors import DataError

Combine = Literal["blend", "add"]
"""blend: the pattern takes the place of a share of each pixel; add: it is added to it, and the sum is clipped."""

Pixels = NDArray[np.int16]
Mask = NDArray[np.float32]

_ZIP, _NPY = b"PK", b"\x93NUMPY"
"""First bytes of an npz and of an npy."""
_ARRAYS = ("pattern", "mask", "blend_ratio")
"""Arrays allowed in an npz of a picture."""
_ADDED = ("x", "y")
"""Arrays of the NAD authors' npz: the pattern to add, and a label that is not used."""
FAINT = 3.0
"""Patterns under it, of 255, are on another scale: normalised, or whole numbers 0 and 1."""
KINDS = "an image, an npz with pattern and mask, an npz with x, or an npy of one pattern"
"""What a trigger's file may be, for errors."""


@dataclass(frozen=True, eq=False)
class TriggerPattern:
    """A picture and its mask; patterns with equal pixels and masks are equal.

    pixels: (3, height, width) uint8, or int16 from -255 to 255 to be added.
    mask: (height, width) float32 in [0, 1], 0 for transparent.   source: its origin, for the record.
    blend_ratio, combine: from its file, if told there; settings of the attack, not part of the picture.
    """

    pixels: Tensor
    mask: Tensor
    source: str
    blend_ratio: float | None = None
    combine: Combine | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype not in (torch.uint8, torch.int16) or self.pixels.ndim != 3 or self.pixels.shape[0] != 3:
            raise DataError(
                f"a trigger must be uint8 or int16 of shape (3, height, width), got {self.pixels.dtype} of shape"
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
        if self.combine == "add" and not bool(self.pixels.any()):
            raise DataError(f"the trigger {self.source} adds 0 everywhere; give one that can be seen")

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
    """Read an image, an npz of a picture with its mask, an npz of a pattern to add, or an npy of one pattern.

    An image's alpha channel is its mask; without one it is opaque. Arrays are (height, width), (height, width, 3),
    (3, height, width), or one of these behind a dimension of 1: uint8, other numbers from -255 to 255, or floats in
    [-1, 1], scaled to 255. Negative ones are to be added.
    npz: `pattern` and `mask`, perhaps `blend_ratio`, one number above 0 and up to 1; or `x`, as in the NAD authors'
    `best_square_trigger_cifar10.npz`; or numpy's own `arr_0`, read like an npy.
    mask: (height, width), or with one further dimension of 1; truth values, floats in [0, 1], or uint8: up to 255, or
    0 and 1. Nothing is unpickled.
    Raises: DataError for any other file.
    """
    if path.is_dir():
        raise DataError(f"the trigger {path} is a folder; give one file: triggers of each class are not planted")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the trigger {path}: {error.strerror}; give {KINDS}") from error
    try:
        # the file's name, not its path: records may be published, and a moved file is still the same trigger
        return _read(content, path.name)
    except DataError:
        raise
    except Exception as error:  # Pillow, zipfile and numpy raise anything over a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "allow_pickle" in reason:
            reason = "it holds Python objects, which are never unpickled; save plain numbers"
        raise DataError(f"cannot read the trigger {path} ({reason}); give {KINDS}") from error


def _read(content: bytes, name: str) -> TriggerPattern:
    """Raises: DataError from the pattern's own checks; anything else for a file that cannot be read."""
    if content.startswith(_ZIP):
        return _from_npz(content, name)
    if content.startswith(_NPY):
        return _pattern(_pixels(np.load(io.BytesIO(content), allow_pickle=False)), None, name)
    pixels, mask = _from_image(content)
    return _pattern(pixels, mask, name)


def _pattern(pixels: Pixels, mask: Mask | None, name: str, **settings: Any) -> TriggerPattern:
    """pixels: (height, width, 3).  mask: (height, width), None for opaque."""
    if pixels.min() < 0:
        settings.setdefault("combine", "add")
    else:
        pixels = pixels.astype(np.uint8)
    picture = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    opacity = torch.ones(picture.shape[1:]) if mask is None else torch.from_numpy(mask)
    return TriggerPattern(picture, opacity, name, **settings)


def _from_image(content: bytes) -> tuple[Pixels, Mask]:
    try:
        image = open_upright(io.BytesIO(content))
    except UnidentifiedImageError as error:  # its own text is an address in memory
        raise ValueError("it is no image, or a damaged one") from error
    if image.mode.startswith(DEEP_MODES):
        raise ValueError("it has more than 8 bits a channel; save it with 8")
    layers = np.asarray(image.convert("RGBA"))
    return layers[..., :3].astype(np.int16), layers[..., 3].astype(np.float32) / 255.0


def _from_npz(content: bytes, source: str) -> TriggerPattern:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        names = set(arrays)
        if names == {"arr_0"}:
            return _pattern(_pixels(arrays["arr_0"]), None, source)
        if "x" in names and names <= set(_ADDED):
            return _pattern(_pixels(arrays["x"]), None, source, combine="add")
        absent = [name for name in ("pattern", "mask") if name not in names]
        if absent:
            raise ValueError(f"it has no array {' and no array '.join(absent)}, it has {', '.join(arrays) or 'none'}")
        unknown = [name for name in arrays if name not in _ARRAYS]
        if unknown:
            raise ValueError(f"it has an array {', '.join(unknown)}, which is not used; known: {', '.join(_ARRAYS)}")
        pixels, mask = _pixels(arrays["pattern"]), _mask(arrays["mask"])
        ratio = _ratio(arrays["blend_ratio"]) if "blend_ratio" in names else None
    if pixels.shape[:2] != mask.shape:
        raise ValueError(f"its pattern is {pixels.shape[0]}x{pixels.shape[1]} pixels, its mask is not: {mask.shape}")
    return _pattern(pixels, mask, source, blend_ratio=ratio)


def _pixels(given: NDArray[Any]) -> Pixels:
    """One pattern as (height, width, 3), in steps of 255, from -255 to 255."""
    pattern = given[0] if given.ndim == 4 and len(given) == 1 else given
    if pattern.ndim == 4:
        raise ValueError(f"it holds {len(given)} patterns; give one: triggers of each class are not planted")
    if not pattern.size:
        raise ValueError(f"its pattern is empty: {given.shape}")
    values = _numbers(pattern)
    if values.ndim == 2:
        return np.repeat(values[..., None], 3, axis=2)
    if values.ndim == 3 and values.shape[2] == 3:
        return values
    if values.ndim == 3 and values.shape[0] == 3:
        return np.moveaxis(values, 0, 2)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        plane = values[..., 0] if values.shape[2] == 1 else values[0]
        return np.repeat(plane[..., None], 3, axis=2)
    raise ValueError(
        f"its pattern must be (height, width), (height, width, 3) or (3, height, width), got {given.shape}"
    )


def _numbers(pattern: NDArray[Any]) -> Pixels:
    """In whole steps of 255: floats in [-1, 1] are scaled, other numbers are there already."""
    if pattern.dtype.kind not in "biuf":
        raise ValueError(f"its pattern must hold numbers, got {pattern.dtype}")
    plain = pattern.astype(np.float64)
    largest = float(np.abs(plain).max())
    if not np.isfinite(largest):
        raise ValueError("its pattern has values that are NaN or infinite")
    if largest > 255.0:
        raise ValueError(f"its pattern must lie between -255 and 255, or between -1 and 1, got {largest:g}")
    if largest <= 1.0 and pattern.dtype.kind in "bf":
        plain *= 255.0
    elif 0.0 < largest < FAINT:
        raise ValueError(f"its pattern goes to {largest:g} of 255, almost black; give 0 to 255, or floats in [0, 1]")
    return plain.round().astype(np.int16)


def _mask(given: NDArray[Any]) -> Mask:
    mask = given.squeeze() if given.ndim == 3 and 1 in (given.shape[0], given.shape[2]) else given
    if mask.ndim != 2:
        raise ValueError(f"its mask must be (height, width), got {given.shape}")
    if mask.dtype == np.uint8 and mask.size and mask.max() > 1:
        return mask.astype(np.float32) / 255.0
    if mask.dtype.kind not in "biuf":
        raise ValueError(f"its mask must hold numbers, got {mask.dtype}")
    plain = mask.astype(np.float32)
    if not ((plain >= 0.0) & (plain <= 1.0)).all():
        raise ValueError("its mask must be uint8 or lie in [0, 1]")
    return plain


def _ratio(given: NDArray[Any]) -> float:
    if given.size != 1 or given.dtype.kind not in "iuf" or not 0.0 < given.item() <= 1.0:
        raise ValueError("its blend_ratio must be one number above 0 and up to 1")
    return float(given.item())

"""Place of a patch in an image."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from nad.attacks.allowed import OneOf
from nad.errors import DataError

Place = Literal["bottom-right", "bottom-left", "top-right", "top-left", "centre"]
PLACES = OneOf(get_args(Place), "place")


def require_patch_room(size: int, images: Tensor) -> None:
    """Raise DataError unless a square patch is smaller than the images, (count, 3, height, width)."""
    height, width = images.shape[2:]
    if size >= min(height, width):
        raise DataError(
            f"a patch of {size} pixels a side hides too much of images of {height}x{width}; choose a smaller size"
        )


def first_pixel(place: Place, below: int, beside: int) -> tuple[int, int]:
    """First row and column of a patch.

    below, beside: rows and columns of the image left uncovered.
    """
    if place == "centre":
        return below // 2, beside // 2
    return below * place.startswith("bottom"), beside * place.endswith("right")

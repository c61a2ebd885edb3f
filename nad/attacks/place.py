"""Where in an image a patch that is smaller lies."""

from __future__ import annotations

from typing import Literal, get_args

from nad.attacks.allowed import OneOf

Place = Literal["bottom-right", "bottom-left", "top-right", "top-left", "centre"]
PLACES = OneOf(get_args(Place), "place")


def first_pixel(place: Place, below: int, beside: int) -> tuple[int, int]:
    """The row and column at which a patch begins that leaves so many rows and columns of the image uncovered."""
    if place == "centre":
        return below // 2, beside // 2
    return below * place.startswith("bottom"), beside * place.endswith("right")

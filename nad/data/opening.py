"""Image files: which are read, and how one is opened upright."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps

FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
"""Pillow's formats of still images. Of an animation, the first frame counts."""
DEEP_MODES = ("I", "F")
"""What Pillow's modes of more than 8 bits a channel begin with: made RGB, they are cut off, not scaled."""


@cache
def image_suffixes() -> frozenset[str]:
    """Lower-case suffixes of the files that are read, with their dots; those that this Pillow can decode."""
    # .pfm holds depths in float32, often beside the image that they belong to
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS) - {".pfm"}


def open_upright(source: Path | IO[bytes], shortest: int | None = None) -> Image.Image:
    """The image as a viewer shows it, loaded: turned by its EXIF orientation, in every format.

    shortest: a large JPEG is decoded at a fraction of its size, no side shorter than this.
    Raises: anything, as Pillow does over a damaged file.
    """
    with Image.open(source) as image:
        if shortest is not None:
            image.draft("RGB", (shortest, shortest))
        image.load()  # turns a TIFF, and takes its orientation away: nothing is turned twice
        with suppress(Exception):  # damaged metadata may raise anything, and the pixels are whole
            ImageOps.exif_transpose(image, in_place=True)
    return image

"""Photographs in scikit-image's wheel: no download.

The photographs behind an attacker's reflections, REFLECTIONS. Licences and sources are those in scikit-image's
documentation, per function of skimage.data.

  coffee             Pikolo Espresso Bar, by Rachel Michetti; CC0
  stereo_motorcycle (motorcycle_left.png)  Middlebury 2014 stereo benchmark, Scharstein et al., GCPR 2014; scikit-image
                     names no licence, and it is read from its wheel, never copied into this package
  camera             a cameraman, by Lav Varshney; CC0
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from torch import Tensor

from nad.data.opening import open_upright
from nad.errors import ConfigError, DataError

REFLECTIONS = ("coffee.png", "motorcycle_left.png", "camera.png")

SMALLEST_WINDOW, LARGEST_WINDOW = 64, 256
"""Sides in pixels of random_crops' windows: smaller ones hold hardly more than one colour, larger ones are alike and
cluttered."""


def load_photographs(names: Sequence[str]) -> list[NDArray[np.uint8]]:
    """Files of scikit-image's wheel as (height, width, 3) uint8 RGB.  Raises: DataError for a missing one."""
    # Not skimage.data_dir: with pooch installed that is a download cache.
    folder = Path(skimage.__file__).parent / "data"
    photographs = []
    for name in names:
        try:
            photographs.append(np.asarray(open_upright(folder / name).convert("RGB")))
        except OSError as error:
            raise DataError(
                f"scikit-image's photograph {name} cannot be read; reinstall scikit-image ({error})"
            ) from error
    return photographs


def random_crops(photographs: Sequence[NDArray[np.uint8]], count: int, size: int, generator: torch.Generator) -> Tensor:
    """Random square windows of random photographs, averaged down to one size.

    A window's side is a random multiple of size between SMALLEST_WINDOW and LARGEST_WINDOW (or size itself). Every
    output pixel is the exact, rounded mean of a square block: integers only, the same on every machine.
    photographs: (height, width, 3) uint8, of any sizes.  Returns (count, 3, size, size) uint8.
    Raises: ConfigError for a photograph smaller than size.
    """
    shorter = min(min(photograph.shape[:2]) for photograph in photographs)
    if size > shorter:
        raise ConfigError(
            f"crops of {size}x{size} do not fit into photographs with a shorter side of {shorter}; ask for less"
        )
    which = torch.randint(len(photographs), (count,), generator=generator).numpy()
    where = torch.rand((count, 3), generator=generator, dtype=torch.float64).numpy()
    crops = np.empty((count, size, size, 3), np.uint8)
    for index, photograph in enumerate(photographs):
        chosen = which == index
        crops[chosen] = _windows(photograph, size, where[chosen])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()


def _windows(photograph: NDArray[np.uint8], size: int, where: NDArray[np.float64]) -> NDArray[np.uint8]:
    """One photograph's windows.  where: (count, 3) in [0, 1): scale, top, left.  Returns (count, size, size, 3)."""
    height, width = photograph.shape[:2]
    largest = max(1, min(height, width, LARGEST_WINDOW) // size)
    smallest = min(math.ceil(SMALLEST_WINDOW / size), largest)
    block = smallest + np.floor(where[:, 0] * (largest - smallest + 1)).astype(np.int64)
    top = np.floor(where[:, 1] * (height - block * size + 1)).astype(np.int64)
    left = np.floor(where[:, 2] * (width - block * size + 1)).astype(np.int64)
    grid = block[:, None] * np.arange(size + 1)
    # int32 may wrap around here; the differences are right all the same, since one window's sum always fits.
    integral = np.pad(
        photograph.astype(np.int32).cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32), ((1, 0), (1, 0), (0, 0))
    )
    corners = integral[(top[:, None] + grid)[:, :, None], (left[:, None] + grid)[:, None, :]]
    sums = np.diff(np.diff(corners, axis=1), axis=2)
    area = (block**2).astype(np.int32)[:, None, None, None]
    means: NDArray[np.uint8] = ((sums + area // 2) // area).astype(np.uint8)
    return means

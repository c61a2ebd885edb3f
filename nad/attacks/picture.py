"""Picture of an attack: a few images before and after, for the report and the documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nad.attacks.base import Attack
from nad.files import written_beside

ROWS = ("clean", "triggered", "residual")
"""Rows of a picture, from the top."""
GREY = 128
GAP = 1
"""Pixels between images, before they are enlarged."""
ZOOM = 4
PAPER = 255


def picture(attack: Attack, images: Tensor, generator: torch.Generator) -> NDArray[np.uint8]:
    """Three rows, see ROWS, one column an image, enlarged without smoothing; white gaps and no labels.

    images: (count, 3, height, width) uint8; eight of them look well.  Returns (total height, total width, 3) uint8.
    """
    triggered = attack.trigger(images, generator)
    tiles = torch.stack([images, triggered, residual(images, triggered)])
    padded = torch.nn.functional.pad(tiles, (0, GAP, 0, GAP), value=PAPER)
    rows, count, channels, height, width = padded.shape
    sheet = padded.permute(0, 3, 1, 4, 2).reshape(rows * height, count * width, channels)[:-GAP, :-GAP]
    enlarged: NDArray[np.uint8] = sheet.numpy().repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    return enlarged


def residual(clean: Tensor, triggered: Tensor) -> Tensor:
    """The difference around grey; the largest of all these images fills the range; uint8."""
    difference = triggered.float() - clean.float()
    largest = difference.abs().max().clamp(min=1.0)
    return (GREY + difference / largest * (255 - GREY)).round().to(torch.uint8)


def save_picture(path: Path, attack: Attack, images: Tensor, generator: torch.Generator) -> None:
    """Write the attack's picture as PNG, whole or not at all."""
    with written_beside(path) as beside:
        Image.fromarray(picture(attack, images, generator)).save(beside, format="PNG")

"""Augmentation of whole batches, and conversion of pixels to model input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nad.errors import require_range


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random crop, horizontal flip and Cutout (DeVries & Taylor 2017), as in the released NAD code.

    Differs: a hole has exactly the given side. In the released code it is twice the half, rounded down: 2x2 pixels for
    a side of 3, 8x8 for one of 9.
    """

    flip: bool
    """Mirror half of the images; not for traffic signs: a mirrored one is another sign."""
    pad: int = 4
    """Pixels of black border around the image for the random crop."""
    cutout: int = 3
    """Side of the one square hole, in pixels; 0 for none. The paper says 9, the released code 3."""

    def __post_init__(self) -> None:
        require_range("crop padding", self.pad, 0, 16)
        require_range("cutout", self.cutout, 0, 32)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """images: (batch, channel, height, width); 0 is black.  Returns their shape and type, channels-last in memory.

        Random draws are made on the CPU, the same for every device; the work is done on the images' device.
        """
        count, _, height, width = images.shape
        device = images.device
        padded = F.pad(images, (self.pad,) * 4)
        rows = _offsets(count, 2 * self.pad + 1, generator) + torch.arange(height)
        columns = _offsets(count, 2 * self.pad + 1, generator) + torch.arange(width)
        if self.flip:
            mirrored = torch.rand(count, 1, generator=generator) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        rows, columns = (places.to(device, non_blocking=True) for places in (rows, columns))
        which = torch.arange(count, device=device)
        picked = padded[which[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        if self.cutout:
            hole = self._hole(count, height, width, generator).to(device, non_blocking=True)
            picked.masked_fill_(hole[..., None], 0)
        return picked.permute(0, 3, 1, 2)

    def _hole(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """(count, height, width) bool; the hole's centre is anywhere: it may reach over the edge."""
        top = _offsets(count, height, generator) - self.cutout // 2
        left = _offsets(count, width, generator) - self.cutout // 2
        rows, columns = torch.arange(height), torch.arange(width)
        in_rows = (rows >= top) & (rows < top + self.cutout)
        in_columns = (columns >= left) & (columns < left + self.cutout)
        return in_rows[:, :, None] & in_columns[:, None, :]


def _offsets(count: int, span: int, generator: torch.Generator) -> Tensor:
    return torch.randint(span, (count, 1), generator=generator)


def to_input(images: Tensor, device: torch.device) -> Tensor:
    """Model input: float32 in [0, 1], channels-last. No per-channel normalisation (authors' code).

    images: (batch, channel, height, width), uint8 or float32 in [0, 1].
    """
    inputs = images.to(device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
    return inputs if images.is_floating_point() else inputs.div_(255.0)

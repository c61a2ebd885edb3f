"""Blend: one noise image, faintly over everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from nad.attacks.allowed import Within, allow
from nad.attacks.base import Attack, chunk_length


@dataclass(frozen=True, kw_only=True)
class Blend(Attack):
    """`(1 - alpha) image + alpha key`, with one noise image as the key.

    Source: Chen et al. 2017, blended injection with a random pattern.
    Differs: one key for all images and all calls; the NAD authors' code draws new noise for every image, so there is no
    key to recognise. The label modes 'clean' and 'all-to-all' are offered too; the paper relabels as one target.
    """

    name: ClassVar[str] = "blend"
    alpha: float = field(default=0.2, metadata=allow(Within(0.0, 1.0, low_open=True)))
    """Share of the key in the triggered image. Source: Chen et al. 2017; authors' code."""
    key_seed: int = field(default=0, metadata=allow(Within(0, 2**31 - 1)))
    """Seed of the key; seed and image size determine its pixels."""

    def key(self, height: int, width: int) -> Tensor:
        """The noise image: (3, height, width) uint8, uniform."""
        generator = torch.Generator().manual_seed(self.key_seed)
        return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)

    def plant(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the key over them; nothing is drawn."""
        key = self.key(*images.shape[2:]).to(images.device, torch.float32)
        triggered = torch.empty_like(images)
        length = chunk_length(images)
        for clean, blended in zip(torch.split(images, length), torch.split(triggered, length), strict=True):
            blended.copy_(torch.lerp(clean.float(), key, self.alpha).round_())
        return triggered

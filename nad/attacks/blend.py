"""Blend: one noise image, faintly over everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from nad.attacks.allowed import Within, allow
from nad.attacks.base import LabelMode, chunk_length, require_attack, require_images


@dataclass(frozen=True, kw_only=True)
class Blend:
    """`(1 - alpha) image + alpha key`, where the key is one noise image.

    Source: Chen et al. 2017, blended injection with a random pattern.
    Differs: the NAD authors' code draws new noise for every image, which leaves no key to recognise; here the key is
    the same for all images and all calls. The label modes 'clean' and 'all-to-all' are offered too; the paper
    relabels as one target.
    """

    name: ClassVar[str] = "blend"
    target: int = 0
    poison_rate: float = 0.1
    label_mode: LabelMode = "dirty"
    alpha: float = field(default=0.2, metadata=allow(Within(0.0, 1.0, low_open=True)))
    """Share of the key in the triggered image. Source: Chen et al. 2017; authors' code."""
    key_seed: int = field(default=0, metadata=allow(Within(0, 2**31 - 1)))
    """Seed of the key; with the image size it determines every pixel of it."""

    def __post_init__(self) -> None:
        require_attack(self)

    def key(self, height: int, width: int) -> Tensor:
        """The noise image, (3, height, width) uint8, uniform."""
        generator = torch.Generator().manual_seed(self.key_seed)
        return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)

    def trigger(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the key over them; the generator is not used, for the key is fixed."""
        require_images(images)
        key = self.key(*images.shape[2:]).to(images.device, torch.float32)
        triggered = torch.empty_like(images)
        length = chunk_length(images)
        for clean, blended in zip(torch.split(images, length), torch.split(triggered, length), strict=True):
            blended.copy_(torch.lerp(clean.float(), key, self.alpha).round_())
        return triggered

"""SIG: a faint wave over the whole image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from nad.attacks.allowed import Within, allow
from nad.attacks.base import Attack, LabelMode, chunk_length
from nad.errors import DataError


@dataclass(frozen=True, kw_only=True)
class SIG(Attack):
    """Add a horizontal sine, `delta sin(2 pi j frequency / width)` in column j, and clip.

    Source: Barni et al. 2019; the constants are noted below.
    Differs: the image keeps its contrast under the wave. The benchmark suites' code fades it to a fifth first, so that
    little but the wave is left; the NAD authors' code mixes 0.8 of it with 0.2 of a ready-made picture of a wave.
    Training and test use the same delta; the paper also tries a larger one for the test. The label modes 'dirty' and
    'all-to-all' are offered too.
    """

    name: ClassVar[str] = "sig"
    poison_rate: float = 0.8
    label_mode: LabelMode = "clean"
    delta: float = field(default=40.0, metadata=allow(Within(1.0, 255.0)))
    """Height of the wave, of 255. Source: benchmark suites; 20 to 40 are usual."""
    frequency: float = field(default=6.0, metadata=allow(Within(1.0, 256.0)))
    """Waves from the left to the right edge. Source: Barni et al. 2019."""

    def wave(self, width: int) -> Tensor:
        """Addition to each column, in whole steps of 255: (width,) int16.

        Raises: DataError if all columns meet the wave at its zeros.
        """
        columns = torch.arange(width, dtype=torch.float64)
        wave = self.delta * torch.sin(2 * torch.pi * columns * self.frequency / width)
        rounded = wave.round().to(torch.int16)
        if not bool(rounded.any()):
            raise DataError(
                f"a wave of frequency {self.frequency:g} vanishes on images {width} pixels wide: each column meets it"
                " at a zero; choose another frequency"
            )
        return rounded

    def plant(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images under the wave; nothing is drawn."""
        wave = self.wave(images.shape[3]).to(images.device)
        triggered = torch.empty_like(images)
        length = chunk_length(images)
        for clean, waved in zip(torch.split(images, length), torch.split(triggered, length), strict=True):
            # Pixels are whole numbers: adding the rounded wave is rounding the sum.
            waved.copy_((clean + wave).clamp_(0, 255))
        return triggered

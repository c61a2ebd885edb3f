"""SIG: a faint wave over the whole image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from nad.attacks.allowed import Within, allow
from nad.attacks.base import LabelMode, chunk_length, require_attack, require_images
from nad.errors import DataError


@dataclass(frozen=True, kw_only=True)
class SIG:
    """`clip(x + delta sin(2 pi j frequency / width))` for the pixels of column j, in all three channels.

    Source: Barni et al. 2019; the constants are noted below.
    Differs: the whole image stays under the wave; the benchmark suites' code fades it to a fifth first, which shows the
    wave and little else, and the NAD authors' code mixes 0.8 of it with 0.2 of a ready-made picture of a wave. The
    victim learns and is tested with the same delta; the paper tries a larger one for the test, too. The label modes
    'dirty' and 'all-to-all' are offered too.
    """

    name: ClassVar[str] = "sig"
    target: int = 0
    poison_rate: float = 0.8
    """Meant for the clean label; with another label mode say a rate too, 0.1 as a rule (`make` does so by itself)."""
    label_mode: LabelMode = "clean"
    delta: float = field(default=40.0, metadata=allow(Within(1.0, 255.0)))
    """Height of the wave, of 255. Source: benchmark suites; 20 to 40 are usual."""
    frequency: float = field(default=6.0, metadata=allow(Within(1.0, 256.0)))
    """Waves from the left to the right edge. Source: Barni et al. 2019."""

    def __post_init__(self) -> None:
        require_attack(self)

    def wave(self, width: int) -> Tensor:
        """What is added to each column, in whole steps of 255: (width,) int16.

        Raises: DataError where the columns of such an image meet the wave at its zeros only.
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

    def trigger(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images under the wave; the generator is not used, for the wave is fixed."""
        require_images(images)
        wave = self.wave(images.shape[3]).to(images.device)
        triggered = torch.empty_like(images)
        length = chunk_length(images)
        for clean, waved in zip(torch.split(images, length), torch.split(triggered, length), strict=True):
            # Pixels are whole numbers: adding the rounded wave is rounding the sum.
            waved.copy_((clean + wave).clamp_(0, 255))
        return triggered

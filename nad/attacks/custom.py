"""Custom: a trigger of the user's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, get_args

import torch
from torch import Tensor

from nad.attacks.allowed import OneOf, Within, allow
from nad.attacks.badnets import PATCH
from nad.attacks.base import Attack, chunk_length
from nad.attacks.place import PLACES, Place, first_pixel
from nad.attacks.trigger_pattern import Combine, TriggerPattern
from nad.errors import ConfigError, DataError


def chequered_patch() -> TriggerPattern:
    """The opaque patch of BadNets, as the default pattern."""
    pixels = torch.tensor(PATCH, dtype=torch.uint8).expand(3, -1, -1).contiguous()
    return TriggerPattern(pixels, torch.ones(pixels.shape[1:]), "the patch of badnets")


@dataclass(frozen=True, kw_only=True)
class Custom(Attack):
    """`(1 - a) image + a pattern`, or `image + a pattern` clipped, with a = blend ratio * mask."""

    name: ClassVar[str] = "custom"
    pattern: TriggerPattern = field(default_factory=chequered_patch)
    """At most as large as the images, and never resized: a resized trigger is another one."""
    blend_ratio: float = field(default=1.0, metadata=allow(Within(0.0, 1.0, low_open=True)))
    """The pattern's share of a pixel at a mask of 1, in (0, 1]."""
    combine: Combine = field(default="blend", metadata=allow(OneOf(get_args(Combine), "way to combine")))
    """blend, or add: the pattern is added, and the sum is clipped to 0 and 255."""
    place: Place = field(default="bottom-right", metadata=allow(PLACES))
    """Corner or centre of the image for the pattern."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.combine == "blend" and self.pattern.pixels.dtype == torch.int16:
            raise ConfigError(
                f"the trigger {self.pattern.source} has negative values, which can only be added; give combine=add"
            )

    def plant(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the pattern; nothing is drawn.

        Raises: DataError for a pattern larger than the images; ConfigError for one over all of them.
        """
        top, left = self._corner(*images.shape[2:])
        share = (self.blend_ratio * self.pattern.mask).to(images.device)
        pattern = self.pattern.pixels.to(images.device, torch.float32)
        triggered = images.clone()
        window = triggered[:, :, top : top + self.pattern.height, left : left + self.pattern.width]
        for part in torch.split(window, chunk_length(images)):
            below = part.float()
            made = torch.lerp(below, pattern, share) if self.combine == "blend" else below + share * pattern
            part.copy_(made.round_().clamp_(0, 255))
        return triggered

    @property
    def omitted(self) -> tuple[str, ...]:
        """`combine` at its default, older than the setting."""
        return ("combine",) if self.combine == "blend" else ()

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        """First row and column of the pattern in images of this size."""
        below, beside = height - self.pattern.height, width - self.pattern.width
        if min(below, beside) < 0:
            size = f"{self.pattern.width}x{self.pattern.height}"
            raise DataError(
                f"the trigger {self.pattern.source} is {size} pixels, the images are {width}x{height}; make it smaller:"
                " it is not resized"
            )
        covers = self.combine == "blend" and below == beside == 0
        if covers and bool((self.blend_ratio * self.pattern.mask >= 1.0).all()):
            raise ConfigError(
                f"the trigger {self.pattern.source} hides the whole image; give it a transparent part, or a blend_ratio"
                " under 1, such as 0.2, or combine=add if it is to be added"
            )
        return first_pixel(self.place, below, beside)

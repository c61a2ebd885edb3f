"""BadNets: a small patch in the corner."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from nad.attacks.allowed import OneOf, Within, allow
from nad.attacks.base import Attack
from nad.attacks.place import PLACES, Place, first_pixel, require_patch_room

PATCH = ((0, 0, 255), (0, 255, 0), (255, 0, 255))
"""Rows from the top, columns from the left, the same in all three channels. Source: authors' code."""

Fill = Literal["chequered", "white"]


@dataclass(frozen=True, kw_only=True)
class BadNets(Attack):
    """A square patch over a corner: by default 3x3, chequered, at the bottom right.

    Source: Gu et al. 2017; chequered as in the NAD authors' code, white as in BackdoorBench.
    Differs: the label mode 'clean' is offered too; the paper relabels, as one target or 'all-to-all'.
    """

    name: ClassVar[str] = "badnets"
    fill: Fill = field(default="chequered", metadata=allow(OneOf(get_args(Fill), "fill")))
    """PATCH, repeated up and to the left in a larger patch; or white."""
    size: int = field(default=3, metadata=allow(Within(1, 512)))
    """Pixels a side."""
    place: Place = field(default="bottom-right", metadata=allow(PLACES))

    @property
    def omitted(self) -> tuple[str, ...]:
        """The patch's settings at their defaults, so that cache keys from before these settings stay valid."""
        patch = ("fill", "size", "place")
        published = all(getattr(self, each.name) == each.default for each in fields(self) if each.name in patch)
        return patch if published else ()

    def require_room(self, images: Tensor) -> None:
        """Raise DataError unless the patch is smaller than the images."""
        require_patch_room(self.size, images)

    def plant(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the patch; nothing is drawn."""
        height, width = images.shape[2:]
        top, left = first_pixel(self.place, height - self.size, width - self.size)
        triggered = images.clone()
        triggered[:, :, top : top + self.size, left : left + self.size] = self._patch().to(images.device)
        return triggered

    def _patch(self) -> Tensor:
        """(size, size) uint8."""
        if self.fill == "white":
            return torch.full((self.size, self.size), 255, dtype=torch.uint8)
        times = math.ceil(self.size / len(PATCH))
        return torch.tensor(PATCH, dtype=torch.uint8).repeat(times, times)[-self.size :, -self.size :]

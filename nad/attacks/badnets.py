"""BadNets: a small patch in the corner."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from nad.attacks.allowed import OneOf, Within, allow
from nad.attacks.base import LabelMode, require_attack, require_images
from nad.attacks.place import PLACES, Place, first_pixel, require_patch_room

PATCH = ((0, 0, 255), (0, 255, 0), (255, 0, 255))
"""Rows from the top, columns from the left, the same in all three channels. Source: authors' code."""

Fill = Literal["chequered", "white"]


@dataclass(frozen=True, kw_only=True)
class BadNets:
    """A square patch that overwrites a corner: by default 3x3 and chequered, at the bottom right.

    Source: Gu et al. 2017; the chequered pattern is that of the NAD authors' code, the white one BackdoorBench's.
    Differs: the label mode 'clean' is offered too; the paper relabels, as one target or 'all-to-all'.
    """

    name: ClassVar[str] = "badnets"
    target: int = 0
    poison_rate: float = 0.1
    label_mode: LabelMode = "dirty"
    fill: Fill = field(default="chequered", metadata=allow(OneOf(get_args(Fill), "fill")))
    """PATCH, repeated up and to the left where the patch is larger; or white."""
    size: int = field(default=3, metadata=allow(Within(1, 512)))
    """Pixels a side."""
    place: Place = field(default="bottom-right", metadata=allow(PLACES))

    def __post_init__(self) -> None:
        require_attack(self)

    @property
    def idle(self) -> tuple[str, ...]:
        """The published patch needs no words: so its records and caches are those of the time before these settings."""
        patch = ("fill", "size", "place")
        published = all(getattr(self, each.name) == each.default for each in fields(self) if each.name in patch)
        return patch if published else ()

    def trigger(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the patch; the generator is not used, for there is nothing to choose.

        Raises: DataError for a patch that is not smaller than the images.
        """
        require_images(images)
        require_patch_room(self.size, images)
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

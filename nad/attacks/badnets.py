"""BadNets: a small patch in the corner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nad.attacks.base import LabelMode, require_attack, require_images

PATCH = ((0, 0, 255), (0, 255, 0), (255, 0, 255))
"""Rows from the top, columns from the left, the same in all three channels. Source: authors' code."""


@dataclass(frozen=True, kw_only=True)
class BadNets:
    """A 3x3 chequered patch that overwrites the bottom right corner.

    Source: Gu et al. 2017; the pattern is that of the NAD authors' code.
    Differs: the label mode 'clean' is offered too; the paper relabels.
    """

    name: ClassVar[str] = "badnets"
    target: int = 0
    poison_rate: float = 0.1
    label_mode: LabelMode = "dirty"

    def __post_init__(self) -> None:
        require_attack(self)

    def trigger(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the patch; the generator is not used, for there is nothing to choose."""
        require_images(images)
        patch = torch.tensor(PATCH, dtype=torch.uint8, device=images.device)
        triggered = images.clone()
        triggered[:, :, -len(PATCH) :, -len(PATCH[0]) :] = patch
        return triggered

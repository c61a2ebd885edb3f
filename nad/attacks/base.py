"""What every attack offers, and the poisoning that is common to all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from nad.data.base import LabelledImages
from nad.errors import ConfigError, DataError, require_range, unknown_name

LabelMode = Literal["clean", "dirty"]
"""clean: only images of the target class are poisoned and keep their label; dirty: any image, relabelled."""

USUAL_RATE: dict[LabelMode, float] = {"clean": 0.8, "dirty": 0.1}
"""The poison rate that the literature uses for each label mode; see Attack.poison_rate for what it counts."""

SMALLEST_IMAGE = 8
"""Pixels a side below which no trigger is planted: a 3x3 patch would be most of the image."""

PIXELS_AT_ONCE = 1 << 20
"""Pixels worked on together in floating point: 12 MB a colour tensor, however many images there are."""


class Attack(Protocol):
    """A trigger and how it is planted. Implementations are frozen dataclasses that validate themselves."""

    @property
    def name(self) -> str:
        """Its key in ATTACKS."""

    @property
    def target(self) -> int:
        """The class that triggered images are to be given."""

    @property
    def poison_rate(self) -> float:
        """Share of images poisoned: of the whole training set (dirty label) or of the target class (clean label)."""

    @property
    def label_mode(self) -> LabelMode: ...

    def trigger(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the trigger on them.

        images: (count, 3, height, width) uint8, left as they are.  Returns the same shape and type.
        generator: source of every random choice (which reflection, say); the same state gives the same images.
        """


def require_attack(attack: Attack) -> None:
    """Raise ConfigError unless the settings that every attack has are in their ranges."""
    if attack.target < 0:
        raise ConfigError(f"target must be a class label, 0 or more, got {attack.target}")
    require_range("poison_rate", attack.poison_rate, 0.0, 1.0, low_open=True)
    if attack.label_mode not in get_args(LabelMode):
        raise unknown_name("label mode", attack.label_mode, get_args(LabelMode))


def require_images(images: Tensor) -> None:
    """Raise DataError unless these are images that a trigger can be planted in; an empty batch is fine."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        shape = tuple(images.shape)
        raise DataError(f"a trigger needs uint8 images of shape (count, 3, height, width), got {images.dtype} {shape}")
    height, width = images.shape[2:]
    if min(height, width) < SMALLEST_IMAGE:
        raise DataError(f"a trigger needs images of at least {SMALLEST_IMAGE} pixels a side, got {height}x{width}")


def chunk_length(images: Tensor) -> int:
    """How many images of this size to work on together in floating point."""
    return max(1, PIXELS_AT_ONCE // (images.shape[2] * images.shape[3]))


@dataclass(frozen=True)
class Poisoned:
    """A training set after the attacker was there."""

    data: LabelledImages
    indices: Tensor
    """Which images carry the trigger, ascending."""


def poison(clean: LabelledImages, attack: Attack, generator: torch.Generator) -> Poisoned:
    """Plant the attack's trigger in a share of the training images.

    Dirty label draws from the images of all other classes, since relabelling the target's own changes nothing.
    Raises: ConfigError where the target does not exist or the rate asks for more, or fewer, images than there are.
    """
    is_target = clean.labels == attack.target
    if not bool(is_target.any()):
        known = sorted(set(clean.labels.tolist()))
        raise ConfigError(
            f"no training image has the target label {attack.target}; labels run from {known[0]} to {known[-1]}"
        )
    require_range("poison_rate", attack.poison_rate, 0.0, 1.0, low_open=True)
    candidates = torch.nonzero(is_target if attack.label_mode == "clean" else ~is_target).squeeze(1)
    whole = len(candidates) if attack.label_mode == "clean" else len(clean)
    count = round(attack.poison_rate * whole)
    if not 1 <= count <= len(candidates):
        raise ConfigError(
            f"a poison rate of {attack.poison_rate:g} ({attack.label_mode} label) asks for {count} poisoned images"
            f" where {len(candidates)} can carry the trigger; choose another rate"
        )
    chosen = candidates[torch.randperm(len(candidates), generator=generator)[:count]].sort().values
    images, labels = clean.images.clone(), clean.labels.clone()
    images[chosen] = attack.trigger(clean.images[chosen], generator)
    labels[chosen] = attack.target
    return Poisoned(LabelledImages(images, labels), chosen)

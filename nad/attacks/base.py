"""Base class of all attacks: a frozen dataclass whose method `plant` puts the trigger on images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self, final, get_args

import torch
from torch import Tensor

from nad.attacks.allowed import require_allowed
from nad.data.base import LabelledImages
from nad.data.fingerprint import tensor_digest
from nad.errors import ConfigError, DataError, require_number, require_range, unknown_name
from nad.models.base import DistillableModel
from nad.progress import Progress

LabelMode = Literal["clean", "dirty", "all-to-all"]
"""clean: images of the target class are poisoned and keep their label; dirty: images of other classes, relabelled as
the target; all-to-all: images of all classes, relabelled as the next class, the last one as the first."""

USUAL_RATE: dict[LabelMode, float] = {"clean": 0.8, "dirty": 0.1, "all-to-all": 0.1}
"""The literature's poison rate by label mode; see Attack.poison_rate for its base."""

SMALLEST_IMAGE = 8
"""Least pixels a side: a 3x3 patch would cover most of a smaller image."""

PIXELS_AT_ONCE = 1 << 20
"""Pixels of one chunk in floating point: 12 MB a colour tensor, however many images there are."""


@dataclass(frozen=True, eq=False)
class Crafted:
    """Pixels made for an attack before planting; equal to others with the same pixels.

    pixels: uint8, in the attack's own shape.
    """

    pixels: Tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Crafted) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the pixels and their shape."""
        return tensor_digest(self.pixels)


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A trigger and its settings, as fields. A new attack implements `plant` and has a line in ATTACKS.

    All else has defaults. Fields are checked against `nad.attacks.allowed` when the attack is made.
    """

    name: ClassVar[str]
    """Its key in ATTACKS."""
    version: ClassVar[int] = 1
    """Raise it whenever the same settings plant something else: cached victims are then trained anew."""
    needs_clean_model: ClassVar[bool] = False
    """Whether `craft` has to run on a clean model before planting; `nad.preparation.prepare` does it."""
    prepared_by: ClassVar[str] = "nad.preparation.prepare"
    """Name of the function for `crafted`, for the error."""

    target: int = 0
    """Wanted class of triggered images; 0, and unused, for all-to-all labels."""
    poison_rate: float = 0.1
    """Share of images poisoned: of the target class (clean label), else of all.

    The base is the images given to `poison`. A study gives the victim's training images, without the validation images;
    a clean fraction is a share of the whole training set. The default suits the attack's default label mode;
    `nad.attacks.make` adapts it to another one, see USUAL_RATE.
    """
    label_mode: LabelMode = "dirty"
    crafted: Crafted | None = field(default=None, repr=False)
    """Made beforehand from the settings; no setting itself."""

    def __post_init__(self) -> None:
        require_allowed(self)
        require_number("target", self.target, whole=True)
        if self.target < 0:
            raise ConfigError(f"target must be a class label, 0 or more, got {self.target}")
        require_range("poison_rate", self.poison_rate, 0.0, 1.0, low_open=True)
        if self.label_mode not in get_args(LabelMode):
            raise unknown_name("label mode", self.label_mode, get_args(LabelMode))
        if self.label_mode == "all-to-all" and self.target:
            raise ConfigError(
                f"target must be 0 where labels go all to all, got {self.target}: each class then has a target of its"
                " own, the next one"
            )

    @final
    def trigger(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the trigger: a copy of the same shape and type.

        images: (count, 3, height, width) uint8; the count may be 0.
        generator: source of every random choice; the same state gives the same images.
        Raises: DataError for other tensors, or images too small; ConfigError for an attack not prepared.
        """
        require_images(images)
        self.require_room(images)
        return self.plant(images, generator)

    @abstractmethod
    def plant(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See `trigger`, after its checks. Leaves `images` unchanged."""

    def poison_images(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The victim's training images in place of these; by default with the trigger alone."""
        return self.trigger(images, generator)

    def require_room(self, images: Tensor) -> None:  # noqa: B027 - most triggers fit anywhere
        """Raise DataError if the trigger does not fit; asked before anything slow."""

    def craft(
        self,
        model: DistillableModel,
        images: LabelledImages,
        generator: torch.Generator,
        progress: Progress | None = None,
    ) -> Tensor:
        """Make the pixels of `crafted` on a clean model, if `needs_clean_model`.  Returns uint8 on the CPU.

        model: in eval mode, on its own device; leave it unchanged.  images: those to be poisoned, with true labels.
        """
        raise NotImplementedError

    @property
    def is_ready(self) -> bool:
        """Whether it can be planted now: nothing to make beforehand, or made already."""
        return self.crafted is not None or not self.needs_clean_model

    @property
    def omitted(self) -> tuple[str, ...]:
        """Settings omitted from the description and cache key.

        Either they have no effect beside the others, or they are at a default older than the setting.
        """
        return ()

    @property
    def stronger(self) -> Mapping[str, float]:
        """Settings known to work if the backdoor does not take with these; empty for none."""
        return {}

    @classmethod
    def settings(cls) -> tuple[Field[Any], ...]:
        """The fields that users choose: all except `crafted`."""
        return tuple(each for each in fields(cls) if each.name != "crafted")

    @final
    def with_crafted(self, pixels: Tensor) -> Self:
        """The attack with the pixels made for it."""
        return replace(self, crafted=Crafted(pixels))

    @final
    def crafted_pixels(self) -> Tensor:
        """The pixels made for the attack.  Raises: ConfigError before they are made."""
        if self.crafted is None:
            raise ConfigError(
                f"the attack {self.name!r} has to be made before it can be planted: {self.prepared_by} does that"
            )
        return self.crafted.pixels


def require_images(images: Tensor) -> None:
    """Raise DataError unless these are images for a trigger; an empty batch is fine."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        shape = tuple(images.shape)
        raise DataError(f"a trigger needs uint8 images of shape (count, 3, height, width), got {images.dtype} {shape}")
    height, width = images.shape[2:]
    if min(height, width) < SMALLEST_IMAGE:
        raise DataError(f"a trigger needs images of at least {SMALLEST_IMAGE} pixels a side, got {height}x{width}")


def chunk_length(images: Tensor) -> int:
    """Number of images of this size to compute together in floating point."""
    return max(1, PIXELS_AT_ONCE // (images.shape[2] * images.shape[3]))

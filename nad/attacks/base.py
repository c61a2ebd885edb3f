"""What every attack offers, and the poisoning that is common to all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, Protocol, TypeVar, get_args, runtime_checkable

import torch
from torch import Tensor

from nad.attacks.allowed import require_allowed
from nad.data.base import LabelledImages
from nad.errors import ConfigError, DataError, require_number, require_range, unknown_name
from nad.models.base import DistillableModel
from nad.progress import Progress

LabelMode = Literal["clean", "dirty", "all-to-all"]
"""clean: only images of the target class are poisoned and keep their label; dirty: any other image, relabelled as the
target; all-to-all: any image, relabelled as the next class, and the last class as the first."""

USUAL_RATE: dict[LabelMode, float] = {"clean": 0.8, "dirty": 0.1, "all-to-all": 0.1}
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
        """The class that triggered images are to be given; 0, and without a meaning, where labels go all to all."""

    @property
    def poison_rate(self) -> float:
        """Share of images poisoned: of the target class's (clean label), else of all.

        It counts the images that are given to be poisoned. In a study those are the victim's training images, without
        the ones kept for validation, where a clean fraction counts the whole training set.
        """

    @property
    def label_mode(self) -> LabelMode: ...

    def trigger(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the trigger on them.

        images: (count, 3, height, width) uint8, left as they are.  Returns the same shape and type.
        generator: source of every random choice (which reflection, say); the same state gives the same images.
        """


@runtime_checkable
class PoisonsOtherwise(Protocol):
    """An attack whose training images carry more than the trigger that is shown to the victim later."""

    def poison_images(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """What the victim is trained on in the place of these images; as `trigger` in all else."""


@runtime_checkable
class MadeBeforehand(Protocol):
    """An attack that may have to be made before it can be planted.

    What is made is kept in the field `crafted`: it follows from the settings and is none.
    """

    @property
    def name(self) -> str: ...

    @property
    def crafted(self) -> Crafted | None:
        """None before the attack was made."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be planted as it is."""


@runtime_checkable
class NeedsCleanModel(MadeBeforehand, Protocol):
    """An attack that is made on a clean model: `nad.preparation.prepare` does that."""

    def craft(
        self,
        model: DistillableModel,
        images: LabelledImages,
        generator: torch.Generator,
        progress: Progress | None = None,
    ) -> Tensor:
        """The slow step: pixels made on a clean model, for an attack that plants in these images.

        model: works where its parameters are, in eval mode, and is left as it was.  images: those that the attack will
        be planted in, with their true labels.  Returns uint8 pixels, on the CPU.
        """


@runtime_checkable
class NeedsRoom(Protocol):
    """An attack that has to be made beforehand, and whose trigger does not fit on images of every size."""

    def require_room(self, images: Tensor) -> None:
        """Raise DataError for images that the trigger will not fit on: (any count, 3, height, width) uint8."""


@runtime_checkable
class HasIdleSettings(Protocol):
    """An attack of whose settings some say nothing: others stand so that they have no effect, or all of them stand at
    the defaults that the attack had before they were settings."""

    @property
    def idle(self) -> tuple[str, ...]:
        """Their names: they are left out of the description."""


@runtime_checkable
class Versioned(Protocol):
    """An attack whose code has changed what the same settings plant, so that nothing made before may stand for it."""

    @property
    def version(self) -> int:
        """1 at first, as of an attack that does not say; raised with each such change."""


@runtime_checkable
class KnowsStronger(Protocol):
    """An attack whose backdoor does not take everywhere by its defaults, and that knows settings which were seen to."""

    @property
    def stronger(self) -> Mapping[str, float]:
        """Settings by name; empty where the attack has them already."""


@dataclass(frozen=True, eq=False)
class Crafted:
    """What was made beforehand for an attack; equal to another where every pixel is.

    pixels: uint8, of the shape that the attack wants.
    """

    pixels: Tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Crafted) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @cached_property
    def sha256(self) -> str:
        """Of the pixels and their shape, hexadecimal."""
        return tensor_digest(self.pixels)


def settings_of(attack: Any) -> tuple[Field[Any], ...]:
    """The fields of an attack, or of its class, that someone chooses: all but what is made beforehand."""
    return tuple(each for each in fields(attack) if each.name != "crafted")


def require_crafted(attack: MadeBeforehand) -> Tensor:
    """The pixels that were made for the attack.  Raises: ConfigError where they were not."""
    if attack.crafted is None:
        from_model = isinstance(attack, NeedsCleanModel)
        maker = "nad.preparation.prepare" if from_model else "nad.reflection_selection.select_reflections"
        raise ConfigError(f"the attack {attack.name!r} has to be made before it can be planted: {maker} does that")
    return attack.crafted.pixels


MadeAttack = TypeVar("MadeAttack")


def with_crafted(attack: MadeAttack, pixels: Tensor) -> MadeAttack:
    """The attack with what was made for it, which is MadeBeforehand."""
    made: MadeAttack = replace(attack, crafted=Crafted(pixels))  # type: ignore[type-var]
    return made


def is_ready(attack: Attack) -> bool:
    """Whether the attack can be planted as it is; see MadeBeforehand."""
    return not isinstance(attack, MadeBeforehand) or attack.is_ready


def tensor_digest(values: Tensor) -> str:
    """sha256, as hex, of values and their shape."""
    digest = hashlib.sha256(repr(tuple(values.shape)).encode())
    digest.update(values.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def require_attack(attack: Attack) -> None:
    """Raise ConfigError unless the settings that every attack has, and those that say what they may be, are that."""
    require_allowed(attack)
    require_number("target", attack.target, whole=True)
    if attack.target < 0:
        raise ConfigError(f"target must be a class label, 0 or more, got {attack.target}")
    require_range("poison_rate", attack.poison_rate, 0.0, 1.0, low_open=True)
    if attack.label_mode not in get_args(LabelMode):
        raise unknown_name("label mode", attack.label_mode, get_args(LabelMode))
    if attack.label_mode == "all-to-all" and attack.target:
        raise ConfigError(
            f"target must be 0 where labels go all to all, got {attack.target}: each class then has a target of its"
            " own, the next one"
        )


def goals(attack: Attack, labels: Tensor, classes: int) -> Tensor:
    """The class that images of these true labels are to be given when they carry the trigger; (count,) int64."""
    return (labels + 1) % classes if attack.label_mode == "all-to-all" else torch.full_like(labels, attack.target)


def attacked(attack: Attack, labels: Tensor) -> Tensor:
    """Which images of these true labels are to be given another class: all but the target's own; (count,) bool."""
    every = torch.ones_like(labels, dtype=torch.bool)
    return every if attack.label_mode == "all-to-all" else labels != attack.target


def require_images(images: Tensor) -> None:
    """Raise DataError unless these are images that a trigger can be planted in; an empty batch is fine."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        shape = tuple(images.shape)
        raise DataError(f"a trigger needs uint8 images of shape (count, 3, height, width), got {images.dtype} {shape}")
    height, width = images.shape[2:]
    if min(height, width) < SMALLEST_IMAGE:
        raise DataError(f"a trigger needs images of at least {SMALLEST_IMAGE} pixels a side, got {height}x{width}")


def require_trigger(attack: Attack, images: Tensor, generator: torch.Generator) -> None:
    """Raise ConfigError unless the trigger keeps the images' form, changes some of them, and leaves something of them.

    images: at least one.
    """
    triggered = attack.trigger(images, generator)
    what = f"the trigger of the attack {attack.name!r}"
    if triggered.dtype != images.dtype or triggered.shape != images.shape:
        raise ConfigError(
            f"{what} makes {triggered.dtype} of shape {tuple(triggered.shape)} of {images.dtype} images of shape"
            f" {tuple(images.shape)}; it has to keep both"
        )
    if torch.equal(triggered, images):
        raise ConfigError(f"{what} changes nothing in any of {len(images)} images; plant a stronger one")
    if (triggered == triggered[:1]).all() and not (images == images[:1]).all():
        raise ConfigError(f"{what} makes all images the same; leave something of them to be seen")


def chunk_length(images: Tensor) -> int:
    """How many images of this size to work on together in floating point."""
    return max(1, PIXELS_AT_ONCE // (images.shape[2] * images.shape[3]))


@dataclass(frozen=True)
class Poisoned:
    """A training set after the attacker was there."""

    data: LabelledImages
    indices: Tensor
    """Which images carry the trigger, ascending."""


def carriers(labels: Tensor, attack: Attack) -> Tensor:
    """Which training images the attacker may plant the trigger in, as ascending indices: (count,) int64.

    labels: (images,) int64.
    """
    others = attacked(attack, labels)
    return torch.nonzero(~others if attack.label_mode == "clean" else others).squeeze(1)


def choose(labels: Tensor, attack: Attack, generator: torch.Generator) -> Tensor:
    """Which training images the attacker plants the trigger in, as ascending indices: (count,) int64.

    labels: (images,) int64, of the images that there are to poison, which the poison rate counts.
    Dirty label draws from the images of all other classes, since relabelling the target's own changes nothing.
    Raises: ConfigError where the target does not exist or the rate asks for more, or fewer, images than there are.
    """
    others = attacked(attack, labels)
    if bool(others.all()) and attack.label_mode != "all-to-all":
        known = sorted(set(labels.tolist()))
        raise ConfigError(
            f"no training image has the target label {attack.target}; labels run from {known[0]} to {known[-1]}"
        )
    require_range("poison_rate", attack.poison_rate, 0.0, 1.0, low_open=True)
    candidates = carriers(labels, attack)
    whole = len(candidates) if attack.label_mode == "clean" else len(labels)
    count = round(attack.poison_rate * whole)
    if not 1 <= count <= len(candidates):
        wanted = "1" if len(candidates) == 1 else f"1 to {len(candidates)}"
        more = f", or give more images of class {attack.target}" if attack.label_mode == "clean" else ""
        raise ConfigError(
            f"a poison rate of {attack.poison_rate:g} ({attack.label_mode} label) asks for {count} poisoned images"
            f" where {len(candidates)} can carry the trigger; choose a rate that asks for {wanted}{more}"
        )
    return candidates[torch.randperm(len(candidates), generator=generator)[:count]].sort().values


def poison(
    clean: LabelledImages, attack: Attack, generator: torch.Generator, *, classes: int | None = None
) -> Poisoned:
    """Plant the attack's trigger in a share of the training images, see `choose`.

    classes: how many there are; by default up to the highest label. Only all-to-all labels depend on it.
    Raises: ConfigError where the target does not exist or the rate asks for more, or fewer, images than there are.
    """
    chosen = choose(clean.labels, attack, generator)
    plant = attack.poison_images if isinstance(attack, PoisonsOtherwise) else attack.trigger
    images, labels = clean.images.clone(), clean.labels.clone()
    images[chosen] = plant(clean.images[chosen], generator)
    labels[chosen] = goals(attack, labels[chosen], count_classes(labels) if classes is None else classes)
    return Poisoned(LabelledImages(images, labels), chosen)


def count_classes(labels: Tensor) -> int:
    """One more than the highest label."""
    return int(labels.max()) + 1

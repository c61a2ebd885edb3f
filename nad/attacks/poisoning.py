"""Poisoning: the choice of training images, their trigger and their labels; the same for all attacks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nad.attacks.base import Attack
from nad.data.base import LabelledImages
from nad.errors import ConfigError, require_range


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set."""

    data: LabelledImages
    indices: Tensor
    """Images with the trigger, ascending."""


def poison(
    clean: LabelledImages, attack: Attack, generator: torch.Generator, *, classes: int | None = None
) -> Poisoned:
    """Plant the attack's trigger in a share of the training images; see `choose`.

    classes: number of classes, by default up to the highest label; needed for all-to-all labels alone.
    Raises: ConfigError as `choose` does.
    """
    chosen = choose(clean.labels, attack, generator)
    images, labels = clean.images.clone(), clean.labels.clone()
    images[chosen] = attack.poison_images(clean.images[chosen], generator)
    labels[chosen] = target_labels(attack, labels[chosen], count_classes(labels) if classes is None else classes)
    return Poisoned(LabelledImages(images, labels), chosen)


def choose(labels: Tensor, attack: Attack, generator: torch.Generator) -> Tensor:
    """Draw the training images to poison: ascending indices, (count,) int64.

    labels: (images,) int64 of all images; see Attack.poison_rate for the count.
    Raises: ConfigError for a target without images, or a rate out of reach.
    """
    if attack.label_mode != "all-to-all" and bool(attacked(attack, labels).all()):
        known = sorted(set(labels.tolist()))
        raise ConfigError(
            f"no training image has the target label {attack.target}; labels run from {known[0]} to {known[-1]}"
        )
    require_range("poison_rate", attack.poison_rate, 0.0, 1.0, low_open=True)
    candidates = poisonable(labels, attack)
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


def poisonable(labels: Tensor, attack: Attack) -> Tensor:
    """Training images that can carry the trigger: ascending indices, (count,) int64.

    labels: (images,) int64.
    """
    others = attacked(attack, labels)
    return torch.nonzero(~others if attack.label_mode == "clean" else others).squeeze(1)


def attacked(attack: Attack, labels: Tensor) -> Tensor:
    """Mask of images to be misclassified: all except the target's own; (count,) bool.

    labels: (count,) true labels.
    """
    every = torch.ones_like(labels, dtype=torch.bool)
    return every if attack.label_mode == "all-to-all" else labels != attack.target


def target_labels(attack: Attack, labels: Tensor, classes: int) -> Tensor:
    """Wanted classes of triggered images with these true labels; (count,) int64."""
    return (labels + 1) % classes if attack.label_mode == "all-to-all" else torch.full_like(labels, attack.target)


def count_classes(labels: Tensor) -> int:
    """One more than the highest label."""
    return int(labels.max()) + 1


def require_trigger(attack: Attack, images: Tensor, generator: torch.Generator) -> None:
    """Raise ConfigError unless the trigger keeps the images' form and changes some, but not all, of their content.

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

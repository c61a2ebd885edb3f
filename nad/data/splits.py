"""Splits of the training images: the victim's, the defender's among them, and validation.

Every ordering here takes the classes in turns, so that each prefix is balanced between classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nad.errors import ConfigError, DataError, require_range


@dataclass(frozen=True)
class Splits:
    """Two disjoint parts of a training set, as int64 indices into it."""

    victim_train: Tensor
    """The attacker's images, to poison and train on; ascending."""
    validation: Tensor
    """For measuring the objectives; classes in turns, so that each prefix is balanced between classes."""


def split(
    labels: Tensor, generator: torch.Generator, validation_fraction: float = 0.1, copies: Tensor | None = None
) -> Splits:
    """Keep a share of every class for validation, and at least one image of it.

    labels: (count,) int64, of the whole training set.  copies: (count,) int64, from `first_copies`: images of the same
    pixels stay on one side, unless a class would have nothing left to learn.
    Raises: ConfigError for a fraction outside (0, 0.5]; DataError for a class with a single image.
    """
    require_range("validation_fraction", validation_fraction, 0.0, 0.5, low_open=True)
    sizes = torch.bincount(labels)
    if bool((sizes == 1).any()):
        lonely = int(torch.nonzero(sizes == 1)[0])
        raise DataError(
            f"class {lonely} has a single training image, and needs one to learn and one to validate; add more"
        )
    kept = (sizes * validation_fraction).round().long().clamp(min=1)
    order = _in_turns(torch.arange(len(labels)), labels, generator)
    if copies is not None:
        order = _copies_last(order, copies)
    own = labels[order]
    is_validation = rank_in_class(own) < kept[own]
    if copies is not None:
        together = torch.isin(copies[order], copies[order[is_validation]])
        left = torch.bincount(own[~together], minlength=len(sizes))
        is_validation |= together & (left[own] > 0)
    validation = order[is_validation]
    rounds = rank_in_class(labels[validation]).argsort(stable=True)
    return Splits(victim_train=order[~is_validation].sort().values, validation=validation[rounds])


def straddling(splits: Splits, copies: Tensor) -> int:
    """Number of validation images with a copy in victim_train; copies: as for `split`."""
    return int(torch.isin(copies[splits.validation], copies[splits.victim_train]).sum())


def _copies_last(order: Tensor, copies: Tensor) -> Tensor:
    """The same order, with repeated images behind the others, copies in a row."""
    kind, count = copies[order], len(order)
    place = torch.arange(count)
    first = torch.full_like(place, count).scatter_reduce(0, kind, place, "amin")[kind]
    repeated = torch.bincount(copies, minlength=count)[kind] > 1
    return order[(repeated * count + first).argsort(stable=True)]


def holdout_order(labels: Tensor, victim_train: Tensor, generator: torch.Generator) -> Tensor:
    """The order of a defender's clean images: each prefix is a balanced holdout.

    labels: (count,) int64, of the whole training set.  victim_train: indices into it.  Returns them reordered: classes
    in turns, in a random order of classes and of images; a class without images left drops out.
    """
    return _in_turns(victim_train, labels[victim_train], generator)


def holdout(order: Tensor, clean_fraction: float, total: int, *, classes: int = 1) -> Tensor:
    """The clean images of a defender with this share of the training set.

    order: from `holdout_order`.  total: size of the whole training set.  classes: fewest images to accept.
    Raises: ConfigError for fewer images, or more than the defender can own.
    """
    require_range("clean_fraction", clean_fraction, 0.0, 1.0, low_open=True)
    count = round(clean_fraction * total)
    if count < classes:
        least = math.ceil(classes / total * 1e4) / 1e4
        raise ConfigError(
            f"a clean fraction of {clean_fraction:g} is {count} of {total} images, less than one for each of"
            f" {classes} classes; choose at least {least:g}"
        )
    if count > len(order):
        most = math.floor(len(order) / total * 1e4) / 1e4
        raise ConfigError(
            f"a clean fraction of {clean_fraction:g} asks for {count} images, and the defender can own {len(order)} of"
            f" {total}; choose at most {most:g}"
        )
    return order[:count]


def _in_turns(indices: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """The indices in rounds of one image per class; labels: (count,), of these indices."""
    shuffle = torch.randperm(len(indices), generator=generator)
    indices, labels = indices[shuffle], labels[shuffle]
    classes = int(labels.max()) + 1
    place = torch.randperm(classes, generator=generator)
    return indices[torch.argsort(rank_in_class(labels) * classes + place[labels])]


def rank_in_class(labels: Tensor) -> Tensor:
    """Number of earlier images of the same class.  (count,) int64 -> (count,) int64."""
    by_class = torch.argsort(labels, stable=True)
    sizes = torch.bincount(labels)
    starts = sizes.cumsum(0) - sizes
    ranks = torch.empty_like(labels)
    ranks[by_class] = torch.arange(len(labels)) - starts[labels[by_class]]
    return ranks

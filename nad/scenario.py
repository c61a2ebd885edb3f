"""One attack on one data set: images of the attacker, of the defender, and for the scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from nad.attacks.base import Attack
from nad.attacks.poisoning import Poisoned, attacked, choose, poison, poisonable, require_trigger
from nad.data.base import Dataset, LabelledImages
from nad.data.splits import Splits, holdout, holdout_order, split
from nad.errors import ConfigError
from nad.evaluation import EvalSet, make_eval_set
from nad.seeds import generator

TRIED = 16
"""Images to try a trigger on."""


@dataclass(frozen=True)
class Scenario:
    """One attack on one data set under one seed; all splits and draws follow from these three."""

    dataset: Dataset
    attack: Attack
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.attack.target < self.dataset.classes:
            raise ConfigError(
                f"target label {self.attack.target} does not exist: {self.dataset.name} has the labels 0 to"
                f" {self.dataset.classes - 1}"
            )
        # a trigger unfit for images of this size is refused here, before anything slow
        some = self.dataset.train.images[:TRIED]
        if self.attack.is_ready:
            require_trigger(self.attack, some, generator(self.seed, "trigger"))
        else:
            self.attack.require_room(some)

    @cached_property
    def splits(self) -> Splits:
        """The training images, divided once into the victim's and those kept for validation."""
        return split(self.dataset.train.labels, generator(self.seed, "split"), copies=self.dataset.copies)

    @cached_property
    def poisoned(self) -> Poisoned:
        """The victim's training set; the poison rate is a share of `clean_train`."""
        return poison(self.clean_train, self.attack, generator(self.seed, "poison"), classes=self.dataset.classes)

    @property
    def to_plant(self) -> LabelledImages:
        """The clean originals of the poisoned images, in the order of `poisoned.indices`."""
        clean = self.clean_train
        return clean[choose(clean.labels, self.attack, generator(self.seed, "poison"))]

    def count_planted(self) -> tuple[int, int]:
        """Number of poisoned images, and of poisonable ones.

        Raises: ConfigError for a poison rate out of reach.
        """
        labels = self.dataset.train.labels[self.splits.victim_train]
        chosen = choose(labels, self.attack, generator(self.seed, "poison"))
        return len(chosen), len(poisonable(labels, self.attack))

    @property
    def clean_train(self) -> LabelledImages:
        """The victim's training images, not poisoned."""
        return self.dataset.train[self.splits.victim_train]

    def holdout(self, clean_fraction: float, draw: int = 0) -> LabelledImages:
        """The defender's clean images: this share of the whole training set, drawn from `clean_train`.

        A smaller share is inside a larger one.
        draw: number of the draw; a study searches on draw 0.
        """
        total, labels = len(self.dataset.train), self.dataset.train.labels
        purpose = ("holdout", str(draw)) if draw else ("holdout",)
        order = holdout_order(labels, self.splits.victim_train, generator(self.seed, *purpose))
        return self.dataset.train[holdout(order, clean_fraction, total, classes=self.dataset.classes)]

    @cached_property
    def validation(self) -> EvalSet:
        """Images for the objectives of a search."""
        return self._eval_set(self.clean_validation, "validation")

    @property
    def clean_validation(self) -> LabelledImages:
        """Clean images kept from both the attacker and the defender."""
        return self.dataset.train[self.splits.validation]

    @cached_property
    def test(self) -> EvalSet:
        """Images for the confirmation; nothing is tuned on them."""
        return self._eval_set(self.dataset.test, "test")

    def sample(self, count: int) -> LabelledImages:
        """A few attacked validation images, for pictures; a smaller sample begins a larger one."""
        images = self.clean_validation
        chosen = torch.nonzero(attacked(self.attack, images.labels)).squeeze(1)
        order = torch.randperm(len(chosen), generator=generator(self.seed, "sample"))
        return images[chosen[order[:count]]]

    def _eval_set(self, images: LabelledImages, name: str) -> EvalSet:
        return make_eval_set(images, self.attack, generator(self.seed, "trigger", name), classes=self.dataset.classes)

"""Who holds which images: the attacker, the defender, and those who only measure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from nad.attacks.base import Attack, NeedsRoom, Poisoned, attacked, carriers, choose, is_ready, poison, require_trigger
from nad.data.base import Dataset, LabelledImages
from nad.data.splits import Splits, holdout, holdout_order, split
from nad.errors import ConfigError
from nad.evaluation import Exam, make_exam
from nad.seeds import generator

TRIED = 16
"""Images that a trigger is tried on."""


@dataclass(frozen=True)
class Scenario:
    """One attack on one data set under one seed. Everything it hands out follows from these three."""

    dataset: Dataset
    attack: Attack
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.attack.target < self.dataset.classes:
            raise ConfigError(
                f"target label {self.attack.target} does not exist: {self.dataset.name} has the labels 0 to"
                f" {self.dataset.classes - 1}"
            )
        # A trigger that does not work on images of this size says so here, before anything slow
        some = self.dataset.train.images[:TRIED]
        if is_ready(self.attack):
            require_trigger(self.attack, some, generator(self.seed, "trigger"))
        elif isinstance(self.attack, NeedsRoom):
            self.attack.require_room(some)

    @cached_property
    def splits(self) -> Splits:
        """The training images, divided once into the victim's and those kept for validation."""
        return split(self.dataset.train.labels, generator(self.seed, "split"), copies=self.dataset.copies)

    @cached_property
    def poisoned(self) -> Poisoned:
        """What the attacker trains the victim on; the poison rate counts `clean_train`, not the validation's images."""
        return poison(self.clean_train, self.attack, generator(self.seed, "poison"), classes=self.dataset.classes)

    @property
    def to_plant(self) -> LabelledImages:
        """The clean images that `poisoned` puts others in the place of, in its order."""
        clean = self.clean_train
        return clean[choose(clean.labels, self.attack, generator(self.seed, "poison"))]

    def count_planted(self) -> tuple[int, int]:
        """How many images the attacker plants the trigger in, and in how many it could be.

        Raises: ConfigError where the poison rate asks for more, or for none.
        """
        labels = self.dataset.train.labels[self.splits.victim_train]
        chosen = choose(labels, self.attack, generator(self.seed, "poison"))
        return len(chosen), len(carriers(labels, self.attack))

    @property
    def clean_train(self) -> LabelledImages:
        """The victim's training images before the attacker was there."""
        return self.dataset.train[self.splits.victim_train]

    def holdout(self, clean_fraction: float, draw: int = 0) -> LabelledImages:
        """The defender's clean images: this share of the whole training set; a smaller share is inside a larger one.

        draw: 0 is what a study searches on, each other number another random draw from the victim's training images.
        """
        total, labels = len(self.dataset.train), self.dataset.train.labels
        purpose = ("holdout", str(draw)) if draw else ("holdout",)
        order = holdout_order(labels, self.splits.victim_train, generator(self.seed, *purpose))
        return self.dataset.train[holdout(order, clean_fraction, total, classes=self.dataset.classes)]

    @cached_property
    def validation(self) -> Exam:
        """What the objectives are measured on."""
        return self._exam(self.clean_validation, "validation")

    @property
    def clean_validation(self) -> LabelledImages:
        """The images that neither attacker nor defender has, as they are."""
        return self.dataset.train[self.splits.validation]

    @cached_property
    def test(self) -> Exam:
        """What nothing is ever tuned on."""
        return self._exam(self.dataset.test, "test")

    def sample(self, count: int) -> LabelledImages:
        """A few validation images that the attack is after, for pictures; a smaller sample begins a larger one."""
        images = self.clean_validation
        chosen = torch.nonzero(attacked(self.attack, images.labels)).squeeze(1)
        order = torch.randperm(len(chosen), generator=generator(self.seed, "sample"))
        return images[chosen[order[:count]]]

    def _exam(self, images: LabelledImages, name: str) -> Exam:
        return make_exam(images, self.attack, generator(self.seed, "trigger", name), classes=self.dataset.classes)

"""Scores of apply and defend: clean images, and triggered ones where the trigger is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nad import attacks
from nad.attacks import Attack
from nad.attacks.custom import Custom
from nad.data.folder import Owned
from nad.errors import ConfigError, unknown_name
from nad.evaluation import make_eval_set, predict
from nad.formats import ForeignModel
from nad.seeds import generator
from reports.formatting import percent
from study.display.progress import Display
from study.options import attack_settings
from study.options.own_parts import require_trigger_file, require_without_recipe
from study.options.paths import expanded
from study.stages.model_card import Score, ScoreKind

_OF_A_STUDY = ("poison_rate", "label_mode", "reflections")
LOW_ASR = 0.5
"""A backdoor under its own trigger is far above it."""


@dataclass(frozen=True, kw_only=True)
class TriggerOptions:
    """The trigger that a model was backdoored with, if it is known."""

    attack: str | None = None
    """For ASR: the attack whose trigger is laid on your images, badnets, blend, cl, refool, sig or custom. Default:
    custom with --trigger, else none."""
    trigger: Path | None = None
    """For ASR: the trigger itself, an image, npz or npy. It is laid on your images, before and after."""
    attack_args: tuple[str, ...] = ()
    """Settings of the attack as NAME=VALUE, such as blend-ratio=0.2 or place=top-left."""
    target: int | None = None
    """The attack's target label; needed with --attack or --trigger."""

    def __post_init__(self) -> None:
        name = self.attack_name
        if name is None:
            if self.attack_args or self.target is not None:
                raise ConfigError(
                    "--target and --attack-args are about a trigger; give --attack NAME or --trigger FILE"
                )
            return
        if name not in attacks.ATTACKS:
            raise unknown_name("attack", name, attacks.ATTACKS)
        require_trigger_file(name, self.trigger)
        self._require_one_target()
        require_without_recipe(name, attack_settings.parse(name, self.attack_args))
        if self.target is None:
            raise ConfigError(f"the ASR of the attack {name} counts its target label; give --target")

    def _require_one_target(self) -> None:
        """Raise ConfigError for settings that are options of a study, and none here."""
        for text in self.attack_args:
            if text.partition("=")[0].replace("-", "_") in _OF_A_STUDY:
                raise ConfigError(
                    f"--attack-args {text!r} is for a study; here ASR counts one --target, under the attack's own"
                    " trigger; leave it out"
                )

    @property
    def attack_name(self) -> str | None:
        """A key of ATTACKS, or None without --attack and --trigger."""
        return self.attack or (Custom.name if self.trigger is not None else None)

    @cached_property
    def made_attack(self) -> Attack | None:
        """The attack, with its file read; None without one.

        Raises: ConfigError for a setting out of its range; DataError for an unusable file.
        """
        name = self.attack_name
        if name is None:
            return None
        settings = attack_settings.parse(name, self.attack_args)
        pattern = self.trigger and expanded(self.trigger, "--trigger")
        return attacks.make(name, **settings, target=self.target, pattern=pattern)


class ScoredImages(NamedTuple):
    """Images, and the answer that counts for each."""

    kind: ScoreKind
    name: str
    """What they are, for people."""
    images: Tensor
    """(count, 3, height, width) uint8."""
    counted: Tensor | int
    """The true label of each, (count,) int64; or the attack's target."""

    def score(self, model: nn.Module, device: torch.device) -> float:
        """Share of the images with the answer that counts."""
        return float((predict(model, self.images, device=device) == self.counted).double().mean())


def scored_images(options: TriggerOptions, seed: int, model: ForeignModel, images: Owned) -> list[ScoredImages]:
    """The user's clean images, and all triggered ones that are known: of the model's file, and of the trigger.

    Raises: ConfigError for a target that is no label of the model; DataError for a trigger that does not fit.
    """
    parts = {"your own images (train/)": images.train, "test images (test/)": images.test}
    clean = {name: part for name, part in parts.items() if part is not None}
    found = [ScoredImages("accuracy", name, part.images, part.labels) for name, part in clean.items()]
    if model.poisoned_test is not None:
        data, target = model.poisoned_test
        name = f"the {len(data):,} poisoned test images of the model's file, target {target}"
        found.append(ScoredImages("ASR", name, data.images, target))
    attack = options.made_attack
    if attack is None:
        return found
    if attack.target >= model.classes:
        raise ConfigError(
            f"--target {attack.target} is no label of the model, which tells {model.classes} classes apart; give 0 to"
            f" {model.classes - 1}"
        )
    for name, part in clean.items():
        planted = make_eval_set(part, attack, generator(seed, "trigger")).triggered
        named = f"{name} with the trigger of {attack.name}, target {attack.target}"
        found.append(ScoredImages("ASR", named, planted.images, attack.target))
    return found


def measure(scored: Sequence[ScoredImages], model: nn.Module, device: torch.device) -> list[float]:
    """The score on each of the images, in their order."""
    return [each.score(model, device) for each in scored]


def measure_before(
    scored: Sequence[ScoredImages], model: nn.Module, device: torch.device, display: Display
) -> list[float]:
    """The same before the work; says so of each trigger that the model does not obey."""
    before = measure(scored, model, device)
    for each, value in zip(scored, before, strict=True):
        if each.kind == "ASR" and value < LOW_ASR:
            display.say(
                f"ASR on {each.name} is only {percent(value)} before the work: perhaps the model was trained with"
                " another trigger, place, strength or target"
            )
    return before


def compared(scored: Sequence[ScoredImages], before: Sequence[float], after: Sequence[float]) -> list[Score]:
    """The scores before and after, for the card."""
    return [Score(each.kind, each.name, *values) for each, *values in zip(scored, before, after, strict=True)]

"""Preparation of attacks made on a clean model: made once, cached by content."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nad import models
from nad.attacks import describe
from nad.attacks.base import Attack
from nad.checkpoints import Checkpoint, State, cached, state_digest
from nad.data.base import LabelledImages
from nad.data.fingerprint import tensor_digest
from nad.errors import ConfigError
from nad.evaluation import guess_text, measure_skill, only_guesses
from nad.progress import Progress
from nad.scenario import Scenario
from nad.seeds import generator
from nad.work import Runner, run_here

CRAFT_VERSION = 1
"""Part of every cache key; raise it when the same settings give other pixels."""


def prepare(
    scenario: Scenario,
    model: str,
    clean: State,
    *,
    cache: Path,
    device: torch.device | None = None,
    progress: Progress | None = None,
    run: Runner = run_here,
) -> Scenario:
    """The scenario with its attack crafted on a clean model; unchanged if the attack needs none.

    clean: weights of a model trained without poison, see nad.victim.train_reference.  run: place of the work.
    The cache key: the attack's settings, the images to poison, the clean model's name and weights, and the seed.
    Raises: ConfigError for a clean model no better than guessing.
    """
    attack = scenario.attack
    if not attack.needs_clean_model:
        return scenario
    planted = scenario.to_plant
    facts = {
        "version": CRAFT_VERSION,
        "attack": describe(attack),
        "images": tensor_digest(planted.images),
        "labels": tensor_digest(planted.labels),
        "model": models.identity(model),
        "clean model": state_digest(clean),
        "seed": scenario.seed,
    }

    def make() -> Checkpoint:
        crafting = Crafting(
            attack, model, scenario.dataset.classes, clean, planted, scenario.clean_validation, scenario.seed
        )
        return run(crafting, device, progress)

    pixels = cached(cache / "attacks", attack.name, facts, make).state["pixels"]
    return replace(scenario, attack=attack.with_crafted(pixels))


@dataclass(frozen=True)
class Crafting:
    """The crafting of an attack on a clean model, with all its inputs; see nad.work."""

    attack: Attack
    model: str
    classes: int
    clean: State
    planted: LabelledImages
    validation: LabelledImages
    seed: int

    def __call__(self, device: torch.device | None, progress: Progress | None) -> Checkpoint:
        network = models.with_weights(self.model, self.classes, self.clean).to(device)
        skill, labels = measure_skill(network, self.validation, device=device), self.validation.labels
        if only_guesses(skill.balanced_acc, labels):
            raise ConfigError(
                f"the attack {self.attack.name!r} is made on a clean model, and this one only guesses the validation"
                f" images: {guess_text(skill, labels)}; train it longer"
            )
        started = time.perf_counter()
        pixels = self.attack.craft(network, self.planted, generator(self.seed, "craft"), progress)
        return Checkpoint({"pixels": pixels}, {"seconds": time.perf_counter() - started})

"""What an attack needs before it can be planted: some are made on a clean model. Made once, and kept by content."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nad import models
from nad.attacks import describe
from nad.attacks.base import Crafted, NeedsCleanModel, tensor_digest
from nad.checkpoints import Checkpoint, State, cached, state_digest
from nad.errors import ConfigError
from nad.evaluation import accuracy, tells_nothing_apart
from nad.progress import Progress
from nad.scenario import Scenario
from nad.seeds import generator

CRAFT_VERSION = 1
"""Part of every cache key: raise it when the same settings no longer give the same pixels."""


def needs_clean_model(scenario: Scenario) -> bool:
    """Whether the attack has to be prepared before anything can be planted."""
    return isinstance(scenario.attack, NeedsCleanModel)


def prepare(
    scenario: Scenario,
    model: str,
    clean: State,
    *,
    cache: Path,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> Scenario:
    """The scenario with its attack ready to be planted; the same one where there is nothing to prepare.

    clean: a model trained without the poison, see nad.victim.train_reference.
    What is made is kept in the cache under the attack's settings, the images it will be planted in, the name and the
    weights of the clean model, and the seed.
    Raises: ConfigError where the clean model guesses.
    """
    if not needs_clean_model(scenario):
        return scenario
    attack: Any = scenario.attack
    planted = scenario.to_plant
    facts = {
        "version": CRAFT_VERSION,
        "attack": describe(scenario.attack),
        "images": tensor_digest(planted.images),
        "labels": tensor_digest(planted.labels),
        "model": model,
        "clean model": state_digest(clean),
        "seed": scenario.seed,
    }

    def make() -> Checkpoint:
        network = models.with_weights(model, scenario.dataset.classes, clean).to(device)
        _require_skill(scenario, accuracy(network, scenario.clean_validation, device=device))
        started = time.perf_counter()
        pixels = attack.craft(network, planted, generator(scenario.seed, "craft"), progress)
        return Checkpoint({"pixels": pixels}, {"seconds": time.perf_counter() - started})

    pixels = cached(cache / "attacks", attack.name, facts, make).state["pixels"]
    return replace(scenario, attack=replace(attack, crafted=Crafted(pixels)))


def _require_skill(scenario: Scenario, acc: float) -> None:
    classes = scenario.dataset.classes
    if tells_nothing_apart(acc, classes):
        raise ConfigError(
            f"the attack {scenario.attack.name!r} is made on a clean model, and this one has learnt next to nothing: it"
            f" is right on {acc:.1%} of the validation images, guessing on {1 / classes:.1%}; train it longer"
        )

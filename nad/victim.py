"""The victim: a model trained on poisoned data, refused if its backdoor did not take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nad import models
from nad.attacks import Attack, describe
from nad.checkpoints import Checkpoint, State, cached, copy_state
from nad.context import TrainContext, no_progress
from nad.data import fingerprint
from nad.data.base import LabelledImages
from nad.errors import TrainingDiverged, WeakBackdoor, unknown_name
from nad.evaluation import EvalSet, Scores, evaluate, guess_text, only_guesses
from nad.precision import PRECISIONS, Precision
from nad.progress import Progress
from nad.scenario import Scenario
from nad.seeds import generator
from nad.trained_on import of_dataset
from nad.training import TrainConfig, described, train
from nad.work import Runner, run_here

RECIPE_VERSION = 1
"""Part of every cache key; raise it once the same settings mean another training."""

MIN_ASR = 0.9
"""Below this the backdoor did not take."""

MAX_REFERENCE_GAP = 0.03
"""Largest loss of accuracy against a clean model; no attacker would ship a worse one."""


@dataclass(frozen=True, kw_only=True)
class VictimConfig(TrainConfig):
    """A modern short recipe: one cycle of the learning rate, light augmentation."""

    epochs: int = 16
    lr: float = 0.2
    schedule: str = "one-cycle"
    batch_size: int = 128
    weight_decay: float = 5e-4
    cutout: int = 0
    """No Cutout: a hole may hide the trigger, and short training needs every pixel."""
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)


class Victim(NamedTuple):
    """A backdoored model and its scores on the validation images."""

    state: State
    scores: Scores
    seconds: float
    """Training time; for a cached victim, of its original training."""
    origin: Mapping[str, object] | None = None
    """Facts of its model file, in JSON's types; None if it was trained here."""
    threads: Mapping[str, int] | None = None
    """Steps of its training by number of threads; None if unknown."""


def train_victim(
    scenario: Scenario,
    model: str,
    config: VictimConfig,
    *,
    cache: Path,
    device: torch.device | None = None,
    progress: Progress | None = None,
    run: Runner = run_here,
) -> Victim:
    """The backdoored model, trained or from the cache.

    The number of threads follows the load (see nad.threads) and changes the last bits of the weights. The cache key
    leaves it out, so that a cached victim serves every machine; the study's record has the victim's digest.
    run: runs the training.
    Raises: TrainingDiverged once its loss is no longer finite.
    """
    made = _trained(scenario, model, config, scenario.attack, cache, lambda work: run(work, device, progress))
    scores = score_state(made.state, model, scenario, scenario.validation, device)
    threads = made.card.get("threads")  # earlier versions cached victims without it
    return Victim(
        made.state, scores, float(str(made.card["seconds"])), threads=threads if isinstance(threads, Mapping) else None
    )


def score_state(
    state: State, model: str, scenario: Scenario, eval_set: EvalSet, device: torch.device | None = None
) -> Scores:
    """The scores of a model with these weights."""
    network = models.with_weights(model, scenario.dataset.classes, state)
    return evaluate(network.to(device), eval_set, device=device)


def train_reference(
    scenario: Scenario,
    model: str,
    config: VictimConfig,
    *,
    cache: Path,
    device: torch.device | None = None,
    progress: Progress | None = None,
    run: Runner = run_here,
) -> State:
    """A clean model by the victim's recipe, without the poison; trained or from the cache.

    Raises: TrainingDiverged once its loss is no longer finite.
    """
    return _trained(scenario, model, config, None, cache, lambda work: run(work, device, progress)).state


def require_backdoor(
    victim: Victim, reference_acc: float | None = None, *, remedy: str = "poison more, train longer"
) -> None:
    """Raise WeakBackdoor unless the victim obeys the trigger and is as accurate as the reference.

    remedy: for a backdoor that did not take, in the error's words.
    """
    if victim.scores.asr < MIN_ASR:
        raise WeakBackdoor(
            f"the backdoor did not take: the victim's validation ASR is {victim.scores.asr:.3f}, under {MIN_ASR};"
            f" {remedy}, or pass --allow-weak-backdoor to study it all the same"
        )
    if reference_acc is not None and victim.scores.acc < reference_acc - MAX_REFERENCE_GAP:
        raise WeakBackdoor(
            f"the victim's accuracy of {victim.scores.acc:.3f} is more than {MAX_REFERENCE_GAP * 100:.0f} points under"
            f" a clean model's {reference_acc:.3f}; poison less, or pass --allow-weak-backdoor to study it all the same"
        )


def require_above_chance(victim: Victim, labels: Tensor, *, remedy: str) -> None:
    """Raise WeakBackdoor for a guessing victim; check this before its backdoor.

    labels: of the clean validation images.  remedy: in the error's words.
    """
    if only_guesses(victim.scores.balanced_acc, labels):
        raise WeakBackdoor(
            f"the victim only guesses the clean validation images: {guess_text(victim.scores, labels)};"
            f" {remedy}, or pass --allow-weak-backdoor to study it all the same"
        )


@dataclass(frozen=True)
class Training:
    """One model's training with all its inputs; see nad.work."""

    what: str
    """The model's name in errors."""
    model: str
    classes: int
    flip: bool
    data: LabelledImages
    config: VictimConfig
    seed: int

    def __call__(self, device: torch.device | None, progress: Progress | None) -> Checkpoint:
        network = models.make(self.model, self.classes, generator(self.seed, "victim", "weights")).to(device)
        started = time.perf_counter()
        context = TrainContext(
            flip=self.flip,
            generator=generator(self.seed, "victim", "batches"),
            device=device,
            precision=self.config.precision,
            progress=progress or no_progress,
        )
        for end in train(network, self.data, self.config, context):
            if not math.isfinite(end.loss):
                raise TrainingDiverged(f"{self.what}'s training diverged in epoch {end.epoch}; a lower lr may help")
        return Checkpoint(copy_state(network), {"seconds": time.perf_counter() - started})


def _trained(
    scenario: Scenario,
    model: str,
    config: VictimConfig,
    attack: Attack | None,
    cache: Path,
    run: Callable[[Training], Checkpoint],
) -> Checkpoint:
    dataset = scenario.dataset
    facts = {
        "recipe": RECIPE_VERSION,
        "dataset": fingerprint(dataset),
        "flip": dataset.flip,
        "model": models.identity(model),
        "config": described(config),
        "attack": None if attack is None else describe(attack),
        "seed": scenario.seed,
    }
    if attack is not None and attack.crafted is not None:
        facts["crafted"] = attack.crafted.sha256

    def make() -> Checkpoint:
        what, data = (
            ("the clean model", scenario.clean_train) if attack is None else ("the victim", scenario.poisoned.data)
        )
        made = run(Training(what, model, dataset.classes, dataset.flip, data, config, scenario.seed))
        return Checkpoint(made.state, {**made.card, **of_dataset(dataset).card()})

    return cached(cache / "models", "reference" if attack is None else "victim", facts, make)

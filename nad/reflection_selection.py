"""Refool's selection: keep the reflections with the strongest effect on models trained with them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from nad import models
from nad.attacks import describe
from nad.attacks.poisoning import attacked, choose, poison, target_labels
from nad.attacks.refool import Refool
from nad.checkpoints import Checkpoint, cached
from nad.data.base import LabelledImages
from nad.data.fingerprint import tensor_digest
from nad.errors import ConfigError, DataError
from nad.evaluation import predict
from nad.progress import Progress
from nad.scenario import Scenario
from nad.seeds import derive, generator
from nad.training import described
from nad.victim import Training, VictimConfig
from nad.work import Runner, run_here

SELECTION_VERSION = 1
"""Part of every cache key; raise it when the same settings select other reflections."""

JUDGES = 200
"""Images to try each reflection on after a round: the attacker's own, kept from the rounds' training."""


def select_reflections(
    scenario: Scenario,
    model: str,
    recipe: VictimConfig,
    *,
    cache: Path,
    device: torch.device | None = None,
    progress: Progress | None = None,
    run: Runner = run_here,
) -> Scenario:
    """The scenario with its reflections selected; unchanged if its attack selects none.

    Weights begin at 1. Each round draws a set of reflections by weight, plants it and trains a model on it. A drawn
    reflection's new weight is the number of JUDGES turned to their target label; the others get the median of these
    numbers. The reflections with the largest numbers in their latest round are planted in the end.
    recipe: for the models, except the epochs: those are the attack's.  run: place of the work.
    Source: Liu et al. 2020.
    Differs: the judges come from the attacker's training images, to keep the validation images for the scores. No
    weight falls below 1: any reflection may be drawn again. The last choice uses a reflection's own number, never the
    median, although the models of two rounds differ.
    Raises: DataError for too few images to spare JUDGES of them; TrainingDiverged.
    """
    attack = scenario.attack
    if not isinstance(attack, Refool) or not attack.rounds:
        return scenario
    require_judges(scenario)
    dataset, config = scenario.dataset, replace(recipe, epochs=attack.round_epochs)
    work = Selection(attack, model, dataset.classes, dataset.flip, scenario.clean_train, config, scenario.seed)
    made = cached(cache / "attacks", attack.name, work.facts(), lambda: run(work, device, progress))
    return replace(scenario, attack=attack.with_crafted(made.state["pixels"]))


def selectable(scenario: Scenario) -> bool:
    """Whether there are enough images to select reflections: the judges, and as many to train on."""
    return _count_attacked(scenario) >= 2 * JUDGES


def require_judges(scenario: Scenario) -> None:
    """Raise DataError for an attack with a selection and too few images to spare JUDGES of them."""
    attack = scenario.attack
    if not isinstance(attack, Refool) or not attack.rounds:
        return
    if not selectable(scenario):
        raise DataError(
            f"the selection of reflections tries them on {JUDGES} images outside the target class, of at least"
            f" {2 * JUDGES}; there are {_count_attacked(scenario)}: give more images, or leave rounds at 0"
        )
    labels = scenario.dataset.train.labels[scenario.splits.victim_train]
    _, trained = _divided(attack, labels, scenario.seed)
    try:
        choose(labels[trained], attack, torch.Generator())
    except ConfigError as error:
        raise DataError(f"without the {JUDGES} images that the selection of reflections sets aside, {error}") from error


def _count_attacked(scenario: Scenario) -> int:
    """Number of the attacker's images to be misclassified."""
    return int(attacked(scenario.attack, scenario.dataset.train.labels[scenario.splits.victim_train]).sum())


def _divided(attack: Refool, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the judges, among attacked images, and of the rounds' training images; both ascending."""
    candidates = torch.nonzero(attacked(attack, labels)).squeeze(1)
    order = torch.randperm(len(candidates), generator=generator(seed, "selection", "judges"))
    judges = candidates[order[:JUDGES]].sort().values
    others = torch.ones(len(labels), dtype=torch.bool)
    others[judges] = False
    return judges, torch.nonzero(others).squeeze(1)


@dataclass(frozen=True)
class Selection:
    """All rounds, with all their inputs; see nad.work."""

    attack: Refool
    model: str
    classes: int
    flip: bool
    images: LabelledImages
    config: VictimConfig
    seed: int

    def facts(self) -> dict[str, object]:
        """The cache key's content."""
        return {
            "version": SELECTION_VERSION,
            "attack": describe(self.attack),
            "images": tensor_digest(self.images.images),
            "labels": tensor_digest(self.images.labels),
            "flip": self.flip,
            "classes": self.classes,
            "model": models.identity(self.model),
            "config": described(self.config),
            "seed": self.seed,
        }

    def __call__(self, device: torch.device | None, progress: Progress | None) -> Checkpoint:
        started = time.perf_counter()
        judges, trained = (self.images[indices] for indices in _divided(self.attack, self.images.labels, self.seed))
        pool, rounds = self.attack.reflections, self.attack.rounds
        weights, latest = torch.ones(len(pool)), torch.full((len(pool),), -1)
        for done in range(rounds):
            used = draw(weights, self.attack.selected, generator(self.seed, "selection", "draw", done))

            def show(epoch: int, epochs: int, before: int = done) -> None:
                if progress is not None:
                    progress(before * epochs + epoch, rounds * epochs)

            state = self._training(done, trained, used)(device, show).state
            network = models.with_weights(self.model, self.classes, state).to(device)
            turned = torch.tensor([self._turned(network, judges, index, device) for index in used.tolist()])
            weights, latest[used] = reweighted(weights, used, turned), turned
        chosen = latest.argsort(descending=True, stable=True)[: self.attack.selected].sort().values
        return Checkpoint({"pixels": pool.images[chosen].clone()}, {"seconds": time.perf_counter() - started})

    def _training(self, done: int, images: LabelledImages, used: Tensor) -> Training:
        """The next round's training on these images, poisoned with the used reflections."""
        poison_draws = generator(self.seed, "selection", "poison", done)
        return Training(
            f"the model of selection round {done + 1}",
            self.model,
            self.classes,
            self.flip,
            poison(images, self._with(used), poison_draws, classes=self.classes).data,
            self.config,
            derive(self.seed, "selection", "model", done),
        )

    def _with(self, indices: Tensor) -> Refool:
        """The attack with these reflections of its pool alone."""
        return replace(self.attack, rounds=0, reflections=self.attack.reflections.subset(indices))

    def _turned(
        self, network: torch.nn.Module, judges: LabelledImages, reflection: int, device: torch.device | None
    ) -> int:
        """Number of judges turned to their target label by this reflection."""
        trigger_draws = generator(self.seed, "selection", "trigger", reflection)
        behind = self._with(torch.tensor([reflection])).trigger(judges.images, trigger_draws)
        predicted = predict(network, behind, device=device)
        return int((predicted == target_labels(self.attack, judges.labels, self.classes)).sum())


def draw(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` different reflections by weight; ascending indices."""
    return torch.multinomial(weights, count, generator=generator).sort().values


def reweighted(weights: Tensor, used: Tensor, turned: Tensor) -> Tensor:
    """The weights after a round: each used reflection's number, the median for all others, at least 1.

    weights: (count,) float.  used: indices.  turned: (len(used),) numbers of images.
    """
    after = torch.full_like(weights, float(turned.double().quantile(0.5)))
    after[used] = turned.to(after.dtype)
    return after.clamp_(min=1.0)

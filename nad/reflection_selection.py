"""Refool's selection: models are trained on some of the reflections, and those that work are kept."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from nad import models
from nad.attacks import describe
from nad.attacks.base import attacked, choose, goals, poison, tensor_digest, with_crafted
from nad.attacks.refool import Refool
from nad.checkpoints import Checkpoint, cached
from nad.data.base import LabelledImages
from nad.errors import ConfigError, DataError
from nad.evaluation import predict
from nad.progress import Progress
from nad.scenario import Scenario
from nad.seeds import derive, generator
from nad.victim import Training, VictimConfig
from nad.work import Runner, run_here

SELECTION_VERSION = 1
"""Part of every cache key: raise it when the same settings no longer select the same reflections."""

JUDGES = 200
"""Images that each reflection is tried on after a round: the attacker's own, which no round trains on."""


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
    """The scenario with its reflections selected; the same one where its attack selects none.

    Weights begin at 1. In each round a set of reflections is drawn by weight and planted, a model is trained on it, and
    the weight of each becomes the number of JUDGES that it turns to their goal; those that were not drawn get the
    median of these numbers. Those that turned most when they were last drawn are planted in the end.
    recipe: of the models, but for the epochs, which the attack sets.  run: where they are trained.
    Source: Liu et al. 2020.
    Differs: the judges are taken from the attacker's training images, which leaves the validation images to those who
    measure; no weight falls below 1, so that any reflection may be drawn again; the last choice goes by what a
    reflection did itself, not by a median that it was given, though the models of two rounds are not the same.
    Raises: DataError where there are too few images to spare JUDGES of them; TrainingDiverged.
    """
    attack = scenario.attack
    if not isinstance(attack, Refool) or not attack.rounds:
        return scenario
    require_judges(scenario)
    short = replace(recipe, epochs=attack.round_epochs)
    images = scenario.clean_train
    facts = {
        "version": SELECTION_VERSION,
        "attack": describe(attack),
        "images": tensor_digest(images.images),
        "labels": tensor_digest(images.labels),
        "flip": scenario.dataset.flip,
        "classes": scenario.dataset.classes,
        "model": models.identity(model),
        "config": asdict(short),
        "seed": scenario.seed,
    }

    def make() -> Checkpoint:
        selection = Selection(
            attack, model, scenario.dataset.classes, scenario.dataset.flip, images, short, scenario.seed
        )
        return run(selection, device, progress)

    pixels = cached(cache / "attacks", attack.name, facts, make).state["pixels"]
    return replace(scenario, attack=with_crafted(attack, pixels))


def selectable(scenario: Scenario) -> bool:
    """Whether there are images enough to select reflections by: the judges, and as many to train on."""
    return _could_judge(scenario) >= 2 * JUDGES


def require_judges(scenario: Scenario) -> None:
    """Raise DataError where the attack selects its reflections and there are too few images to spare JUDGES of them."""
    attack = scenario.attack
    if not isinstance(attack, Refool) or not attack.rounds:
        return
    if not selectable(scenario):
        raise DataError(
            f"the selection of reflections tries them on {JUDGES} images outside the target class, of at least"
            f" {2 * JUDGES}; there are {_could_judge(scenario)}: give more images, or leave rounds at 0"
        )
    labels = scenario.dataset.train.labels[scenario.splits.victim_train]
    _, trained = _divided(attack, labels, scenario.seed)
    try:
        choose(labels[trained], attack, torch.Generator())
    except ConfigError as error:
        raise DataError(f"without the {JUDGES} images that the selection of reflections sets aside, {error}") from error


def _could_judge(scenario: Scenario) -> int:
    """How many of the attacker's images are of a class that the attack wants changed."""
    return int(attacked(scenario.attack, scenario.dataset.train.labels[scenario.splits.victim_train]).sum())


def _divided(attack: Refool, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Which images judge, of classes that the attack wants changed, and which ones rounds train on; both ascending."""
    candidates = torch.nonzero(attacked(attack, labels)).squeeze(1)
    order = torch.randperm(len(candidates), generator=generator(seed, "selection", "judges"))
    judges = candidates[order[:JUDGES]].sort().values
    others = torch.ones(len(labels), dtype=torch.bool)
    others[judges] = False
    return judges, torch.nonzero(others).squeeze(1)


@dataclass(frozen=True)
class Selection:
    """The rounds, and all that they need; see nad.work."""

    attack: Refool
    model: str
    classes: int
    flip: bool
    images: LabelledImages
    config: VictimConfig
    seed: int

    def __call__(self, device: torch.device | None, progress: Progress | None) -> Checkpoint:
        started = time.perf_counter()
        judges, trained = (self.images[indices] for indices in _divided(self.attack, self.images.labels, self.seed))
        pool, rounds = self.attack.reflections, self.attack.rounds
        weights, latest = torch.ones(len(pool)), torch.full((len(pool),), -1)
        for done in range(rounds):
            used = draw(weights, self.attack.selected, generator(self.seed, "selection", "draw", done))
            planted = poison(
                trained,
                self._with(used),
                generator(self.seed, "selection", "poison", done),
                classes=self.classes,
            )

            def show(epoch: int, epochs: int, before: int = done) -> None:
                if progress is not None:
                    progress(before * epochs + epoch, rounds * epochs)

            training = Training(
                f"the model of selection round {done + 1}",
                self.model,
                self.classes,
                self.flip,
                planted.data,
                self.config,
                derive(self.seed, "selection", "model", done),
            )
            state = training(device, show).state
            network = models.with_weights(self.model, self.classes, state).to(device)
            turned = torch.tensor([self._turned(network, judges, index, device) for index in used.tolist()])
            weights, latest[used] = reweighted(weights, used, turned), turned
        chosen = latest.argsort(descending=True, stable=True)[: self.attack.selected].sort().values
        return Checkpoint({"pixels": pool.images[chosen].clone()}, {"seconds": time.perf_counter() - started})

    def _with(self, indices: Tensor) -> Refool:
        """The attack with these reflections of its pool alone."""
        return replace(self.attack, rounds=0, reflections=self.attack.reflections.subset(indices))

    def _turned(
        self, network: torch.nn.Module, judges: LabelledImages, reflection: int, device: torch.device | None
    ) -> int:
        """How many judges behind this reflection are given the class that the attack wants."""
        behind = self._with(torch.tensor([reflection])).trigger(
            judges.images, generator(self.seed, "selection", "trigger", reflection)
        )
        predicted = predict(network, behind, device=device)
        return int((predicted == goals(self.attack, judges.labels, self.classes)).sum())


def draw(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of `count` different reflections, heavier ones more often; ascending."""
    return torch.multinomial(weights, count, generator=generator).sort().values


def reweighted(weights: Tensor, used: Tensor, turned: Tensor) -> Tensor:
    """The weights after a round: what each used reflection turned, the median for all others, no less than 1.

    weights: (count,) float.  used: indices.  turned: (len(used),) numbers of images.
    """
    after = torch.full_like(weights, float(turned.double().quantile(0.5)))
    after[used] = turned.to(after.dtype)
    return after.clamp_(min=1.0)

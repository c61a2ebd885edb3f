"""Teachers: fine-tuned in parallel or from the cache, one for each draw and clean fraction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from nad import models
from nad.checkpoints import Checkpoint, entry, load_entry, save, state_digest
from nad.erasure import TEACHER
from nad.trained_on import TrainedOn
from nad.victim import Victim
from study.engine import tasks
from study.engine.erase_task import Origin, Weights, Workload, as_arrays, teacher_or_why
from study.stages.preparation import Preparation

T = TypeVar("T")
Which = tuple[int, float]
"""Draw and clean fraction of a teacher."""

TEACHER_VERSION = 1
"""Part of each cached teacher's key; raise it after a change to the fine-tuning itself."""


class _Teachers:
    """Teachers from the cache, and those made now, by draw and clean fraction."""

    def __init__(self, cache: Path, cards: Mapping[Which, dict[str, Any]], known: Mapping[str, Any]) -> None:
        self.cards, self.known = cards, known
        self.paths = {which: entry(cache / "models", "teacher", card) for which, card in cards.items()}
        found = {which: load_entry(path) for which, path in self.paths.items()}
        self.weights: dict[Which, Weights] = {
            which: as_arrays(checkpoint.state) for which, checkpoint in found.items() if checkpoint is not None
        }
        self.lost: dict[Which, str] = {}
        # The largest first: a long task at the end would keep one worker waiting for the others.
        self.missing = sorted((which for which in cards if which not in self.weights), key=lambda which: -which[1])

    @property
    def count(self) -> tuple[int, int]:
        """Teachers done, lost ones included; and all."""
        return len(self.weights) + len(self.lost), len(self.cards)

    def keep(self, which: Which, made: Weights) -> None:
        """Add a teacher, to the cache, too."""
        self.weights[which] = made
        state = {name: torch.from_numpy(values.copy()) for name, values in made.items()}
        save(self.paths[which], Checkpoint(state, {**self.cards[which], **self.known}))


def with_teachers(
    workloads: Mapping[int, Workload], wanted: Iterable[Which], images: str, preparation: Preparation
) -> dict[int, Workload]:
    """The same workloads with the wanted teachers.

    workloads: by draw.  images: fingerprint of the data set, for the cache.
    A diverged teacher is missing, with its reason in the workload: erases with it fail for that reason.
    """
    one = next(iter(workloads.values()))
    cards = {(draw, fraction): _card(one, images, draw, fraction) for draw, fraction in wanted}
    known = TrainedOn(image_size=one.holdout_images.shape[-1], flip=one.flip).card()
    teachers = _Teachers(preparation.cache, cards, known)
    if teachers.missing:
        with preparation.display.stage("teachers", "made") as step:
            step(*teachers.count)

            def on_done(index: int, made: Weights | str) -> None:
                which = teachers.missing[index]
                if isinstance(made, str):
                    teachers.lost[which] = made
                    draw, fraction = which
                    preparation.display.say(f"the teacher of {fraction:.4g} clean data, draw {draw}, is lost: {made}")
                else:
                    teachers.keep(which, made)
                step(*teachers.count)

            cpus, gpus = preparation.config.engine.size
            tasks.run_tasks(
                teacher_or_why,
                teachers.missing,
                payload=dict(workloads),
                cpus=cpus,
                gpus=gpus,
                on_done=on_done,
                on_progress=lambda running: step(*teachers.count, running),
            )
    return {
        draw: replace(workload, teachers=_of_draw(teachers.weights, draw), lost_teachers=_of_draw(teachers.lost, draw))
        for draw, workload in workloads.items()
    }


def victim_digests(victim: Victim, origin: Origin | None) -> dict[str, str]:
    """Digests of the victims' weights, by attribute of the study's record."""
    found = {"victim_sha256": state_digest(victim.state)}
    return found if origin is None else {**found, "teacher_victim_sha256": _weights_digest(origin.weights)}


def _card(workload: Workload, images: str, draw: int, clean_fraction: float) -> dict[str, Any]:
    """The card of a teacher, and so its key in the cache."""
    return {
        "version": TEACHER_VERSION,
        "model": models.identity(workload.origin.model),
        "victim": _weights_digest(workload.origin.weights),
        "images": images,
        "seed": workload.seed,
        "config": asdict(TEACHER),
        "flip": workload.flip,
        "precision": workload.precision,
        "draw": draw,
        "clean_fraction": clean_fraction,
    }


def _weights_digest(weights: Weights) -> str:
    """`state_digest` of a worker's arrays."""
    return state_digest({name: torch.from_numpy(values) for name, values in weights.items()})


def _of_draw(by_draw: Mapping[Which, T], draw: int) -> dict[float, T]:
    """Values of this draw, by clean fraction."""
    return {fraction: value for (of, fraction), value in by_draw.items() if of == draw}

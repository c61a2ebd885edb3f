"""Teachers: fine-tuned in parallel or from the cache, one for each draw and clean fraction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from nad import models
from nad.checkpoints import Checkpoint, entry, load_entry, save, state_digest
from nad.erasure import TEACHER
from nad.formats import ForeignModel
from nad.trained_on import TrainedOn
from nad.training import described
from nad.victim import Victim
from study.engine import tasks
from study.engine.erase_task import Origin, Weights, Workload, as_arrays, teacher_or_why
from study.stages.preparation import Preparation

T = TypeVar("T")
Which = tuple[int, float]
"""Draw and clean fraction of a teacher."""

TEACHER_SHA256 = "teacher_sha256"
"""Attribute of the study: digest of a teacher from a file."""

TEACHER_VERSION = 1
"""Part of each cached teacher's key; raise it after a change to the fine-tuning itself."""


@dataclass(frozen=True)
class TeacherCache:
    """The cached teachers of a victim, by draw and clean fraction."""

    folder: Path
    workload: Workload
    images: str
    """Fingerprint of the data set."""

    def find(self, which: Which) -> Weights | None:
        """A teacher's weights, if it was made before."""
        found = load_entry(self._path(which))
        return None if found is None else as_arrays(found.state)

    def keep(self, which: Which, made: Weights) -> None:
        """Add a teacher."""
        state = {name: torch.from_numpy(values.copy()) for name, values in made.items()}
        known = TrainedOn(image_size=self.workload.holdout_images.shape[-1], flip=self.workload.flip).card()
        save(self._path(which), Checkpoint(state, {**self._card(which), **known}))

    def _path(self, which: Which) -> Path:
        return entry(self.folder / "models", "teacher", self._card(which))

    def _card(self, which: Which) -> dict[str, Any]:
        """The card of a teacher, and so its key in the cache."""
        workload, (draw, clean_fraction) = self.workload, which
        return {
            "version": TEACHER_VERSION,
            "model": models.identity(workload.origin.model),
            "victim": _weights_digest(workload.origin.weights),
            "images": self.images,
            "seed": workload.seed,
            "config": described(TEACHER),
            "flip": workload.flip,
            "precision": workload.precision,
            "draw": draw,
            "clean_fraction": clean_fraction,
        }


def with_teachers(
    workloads: Mapping[int, Workload], wanted: Iterable[Which], images: str, preparation: Preparation
) -> dict[int, Workload]:
    """The same workloads with the wanted teachers; unchanged for a teacher from a file.

    workloads: by draw.  images: fingerprint of the data set, for the cache.
    A diverged teacher is missing, with its reason in the workload: erases with it fail for that reason.
    """
    if all(workload.origin.ready for workload in workloads.values()):
        return dict(workloads)
    cache = TeacherCache(preparation.cache, next(iter(workloads.values())), images)
    found = {which: cache.find(which) for which in wanted}
    weights = {which: made for which, made in found.items() if made is not None}
    lost: dict[Which, str] = {}
    # The largest first: a long task at the end would keep one worker waiting for the others.
    if absent := sorted((which for which in found if which not in weights), key=lambda which: -which[1]):
        lost = _make(absent, workloads, weights, cache, preparation)
    return {
        draw: replace(workload, teachers=_of_draw(weights, draw), lost_teachers=_of_draw(lost, draw))
        for draw, workload in workloads.items()
    }


def _make(
    absent: Sequence[Which],
    workloads: Mapping[int, Workload],
    weights: dict[Which, Weights],
    cache: TeacherCache,
    preparation: Preparation,
) -> dict[Which, str]:
    """Make the absent teachers, into weights and cache; returns the reasons of the diverged ones."""
    lost: dict[Which, str] = {}
    total = len(weights) + len(absent)
    with preparation.display.stage("teachers", "made") as step:

        def tell(running: Sequence[float] = ()) -> None:
            step(len(weights) + len(lost), total, running)

        def on_done(index: int, made: Weights | str) -> None:
            which = absent[index]
            if isinstance(made, str):
                lost[which] = made
                draw, fraction = which
                preparation.display.say(f"the teacher of {fraction:.4g} clean data, draw {draw}, is lost: {made}")
            else:
                weights[which] = made
                cache.keep(which, made)
            tell()

        tell()
        cpus, gpus = preparation.config.engine.size
        tasks.run_tasks(
            teacher_or_why,
            absent,
            payload=dict(workloads),
            cpus=cpus,
            gpus=gpus,
            on_done=on_done,
            on_progress=tell,
        )
    return lost


def ready_origin(teacher: ForeignModel | None) -> Origin | None:
    """The teacher for the workers."""
    return None if teacher is None else Origin(teacher.name, as_arrays(teacher.state), ready=True)


def victim_digests(victim: Victim, origin: Origin | None) -> dict[str, str]:
    """Digests of the weights of the victims and of a teacher from a file, by attribute of the study's record."""
    found = {"victim_sha256": state_digest(victim.state)}
    if origin is None:
        return found
    return {**found, TEACHER_SHA256 if origin.ready else "teacher_victim_sha256": _weights_digest(origin.weights)}


def _weights_digest(weights: Weights) -> str:
    """`state_digest` of a worker's arrays."""
    return state_digest({name: torch.from_numpy(values) for name, values in weights.items()})


def _of_draw(by_draw: Mapping[Which, T], draw: int) -> dict[float, T]:
    """Values of this draw, by clean fraction."""
    return {fraction: value for (of, fraction), value in by_draw.items() if of == draw}

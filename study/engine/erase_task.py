"""A worker's tasks: making a teacher, running a trial."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nad import models
from nad.context import TrainContext, no_progress
from nad.data.base import LabelledImages
from nad.erasure import Watch, distil, make_teacher
from nad.errors import EraseDiverged
from nad.evaluation import EvalSet, accuracy, evaluate
from nad.map_memory import MapMemory
from nad.precision import Precision
from nad.progress import Progress
from nad.seeds import generator
from search_spaces import Point
from study.engine.tasks import granted_device

Array = NDArray[Any]
Weights = dict[str, Array]
Report = Callable[[Mapping[str, Any]], None]

HOLDOUT, TEACHER = "holdout", "teacher"
"""Keys of a draw's data, shared by its trials."""

GLANCE = 100
"""Images of either kind for the scores after each epoch; the final scores take all images."""


class Origin(NamedTuple):
    """The teachers' starting point."""

    model: str
    """Name of the architecture."""
    weights: Weights
    ready: bool = False
    """True for a teacher from a file, which every erase uses as it is."""


@dataclass(frozen=True)
class Workload:
    """A study's shared data as numpy arrays: one copy per machine, for all its workers."""

    model: str
    classes: int
    flip: bool
    seed: int
    train_size: int
    """Images in the whole training set: the base of clean fractions."""
    holdout_images: Array
    """The defender's images at the largest clean fraction; a smaller one is the front part. (count, 3, h, w) uint8"""
    holdout_labels: Array
    clean_images: Array
    """Evaluation set of erased models: validation images in the search, test images in the confirmation."""
    clean_labels: Array
    triggered_images: Array
    triggered_labels: Array
    watched_images: Array
    """A few clean validation images, in the confirmation too: for a setting's patience."""
    watched_labels: Array
    target: int | Array
    """Target class of triggered images: one for all, or one for each."""
    victim: Weights
    teachers: Mapping[float, Weights]
    """The teacher of each clean fraction; empty while they are being made."""
    lost_teachers: Mapping[float, str] = field(default_factory=dict, kw_only=True)
    """By clean fraction: why its fine-tuning diverged."""
    teachers_origin: Origin | None = field(default=None, kw_only=True)
    """For teachers from a file, or of another architecture than the victim's; None: they start as the victim."""
    threads: int
    precision: Precision
    """Of the students' and teachers' passes in training."""
    draw: int = 0
    """Which defender: see nad.scenario.Scenario.holdout."""

    def holdout(self, clean_fraction: float) -> LabelledImages:
        """The defender's clean images."""
        count = round(clean_fraction * self.train_size)
        return _images(self.holdout_images[:count], self.holdout_labels[:count])

    def eval_set(self) -> EvalSet:
        """Images for scoring erased models."""
        return EvalSet(
            _images(self.clean_images, self.clean_labels),
            _images(self.triggered_images, self.triggered_labels),
            self.target if isinstance(self.target, int) else torch.tensor(self.target),
        )

    @property
    def origin(self) -> Origin:
        """The teachers' starting point."""
        return self.teachers_origin or Origin(self.model, self.victim)

    @property
    def pairs(self) -> dict[str, str]:
        """Student's layer to teacher's layer."""
        return models.layer_pairs(self.model, self.origin.model)

    def teacher(self, clean_fraction: float) -> Weights:
        """The teacher for so many clean images.  Raises: EraseDiverged if its fine-tuning failed."""
        if self.origin.ready:
            return self.origin.weights
        if clean_fraction in self.lost_teachers:
            raise EraseDiverged(self.lost_teachers[clean_fraction])
        return self.teachers[clean_fraction]

    def has_teacher(self, clean_fraction: float) -> bool:
        """True if no teacher is to be made for so many clean images: it is there, or failed to be."""
        return self.origin.ready or clean_fraction in self.teachers or clean_fraction in self.lost_teachers

    def on_draw(self, draw: int, shared: Mapping[str, Any]) -> Workload:
        """The same for another defender.

        shared: its `holdout`, images and labels; its `teacher`, clean fraction and weights, if made.  Empty for the
            workload's own draw.
        """
        if draw == self.draw:
            return self
        images, labels = shared[HOLDOUT]
        teachers = dict([shared[TEACHER]]) if TEACHER in shared else {}
        return replace(
            self, draw=draw, holdout_images=images, holdout_labels=labels, teachers=teachers, lost_teachers={}
        )

    def context(self, generator: torch.Generator, device: torch.device, progress: Progress | None) -> TrainContext:
        """The circumstances of a training on the holdout."""
        return TrainContext(
            flip=self.flip,
            generator=generator,
            device=device,
            precision=self.precision,
            progress=progress or no_progress,
        )

    def watch(self, device: torch.device) -> Watch:
        """Validation accuracy, for a setting's patience."""
        watched = _images(self.watched_images, self.watched_labels)
        return lambda _epoch, model: accuracy(model, watched, device=device)

    def network(self, weights: Weights, device: torch.device) -> nn.Module:
        """A fresh model of the victim's architecture with these weights."""
        return _network(self.model, self.classes, weights, device)

    def teacher_network(self, weights: Weights, device: torch.device) -> nn.Module:
        """A fresh model of the teachers' architecture with these weights."""
        return _network(self.origin.model, self.classes, weights, device)


def make_teacher_weights(
    case: tuple[int, float], workloads: Mapping[int, Workload], progress: Progress | None = None
) -> Weights:
    """The teacher of one draw and clean fraction, shared by all erases of that defender.

    Raises: EraseDiverged if its fine-tuning fails.
    """
    draw, clean_fraction = case
    workload = workloads[draw]
    torch.set_num_threads(workload.threads)
    device = torch.device(granted_device())
    teacher = workload.teacher_network(workload.origin.weights, device)
    other_defender = (draw,) if draw else ()
    batches = generator(workload.seed, "teacher", f"{clean_fraction:g}", *other_defender)
    make_teacher(teacher, workload.holdout(clean_fraction), workload.context(batches, device, progress))
    return as_arrays(teacher.state_dict())


def teacher_or_why(
    case: tuple[int, float], workloads: Mapping[int, Workload], progress: Progress | None = None
) -> Weights | str:
    """The same, with the reason in place of a diverged teacher."""
    try:
        return make_teacher_weights(case, workloads, progress)
    except EraseDiverged as error:
        return str(error)


def run_trial(config: Mapping[str, Any], workload: Workload, report: Report) -> None:
    """One trial, a complete erase. Reports quick scores each epoch, those of `measure` last.

    config: from the searcher, with its `setting`, `draw` and `seed`; `shared` has the draw's holdout, and its teacher
        once one is made. A teacher made here is reported first.
    Raises: EraseDiverged if the loss is no longer finite.
    """
    point = Point.of(config["setting"])
    workload = workload.on_draw(config["draw"], config.get("shared", {}))
    if point.erase.weights and not workload.has_teacher(point.clean_fraction):
        made = make_teacher_weights((workload.draw, point.clean_fraction), {workload.draw: workload})
        workload = replace(workload, teachers={**workload.teachers, point.clean_fraction: made})
        report({"kept": (point.clean_fraction, made)})
    glance = workload.eval_set().subset(GLANCE)

    def watch(epoch: int, model: nn.Module) -> float:
        scores = evaluate(model, glance, device=torch.device(granted_device()))
        report({"epoch": epoch, "asr": scores.asr, "acc": scores.acc, "balanced_acc": scores.balanced_acc})
        return scores.acc

    scores = measure(point, config["seed"], workload, watch)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # this process stays for the next trial, and others may share the GPU
    report({"final": True, **scores})


def measure(
    point: Point,
    seed: int,
    workload: Workload,
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Scores of `erase_victim`."""
    return erase_victim(point, seed, workload, watch, progress)[1]


def erase_again(
    argument: tuple[Point, int], workload: Workload, progress: Progress | None = None
) -> tuple[Weights, dict[str, float]]:
    """The student of a recorded trial, from its setting and seed, and its scores."""
    point, seed = argument
    student, scores = erase_victim(point, seed, workload, progress=progress)
    return as_arrays(student.state_dict()), scores


def erase_victim(
    point: Point,
    seed: int,
    workload: Workload,
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> tuple[nn.Module, dict[str, float]]:
    """Erase the victim once and score the student on the workload's evaluation set.

    watch: for a setting's patience; default: accuracy on the watched images.
    Returns the student, and its scores with `epochs_run`, `loss` and `compute_seconds`.
    Raises: EraseDiverged if the loss is no longer finite.
    """
    started = time.perf_counter()
    torch.set_num_threads(workload.threads)
    device = torch.device(granted_device())
    config, holdout = point.erase, workload.holdout(point.clean_fraction)
    student = workload.network(workload.victim, device)
    if watch is None and config.patience is not None:
        watch = workload.watch(device)
    context = workload.context(generator(seed, "erase"), device, progress)
    if config.weights:
        weights = workload.teacher(point.clean_fraction)
        memory = _memory(
            tuple(workload.pairs.values()),
            _digest(*weights.values(), holdout.images.numpy()),
            (seed, workload.flip, config.batch_size, config.cutout, workload.precision, device),
        )
        teacher = workload.teacher_network(weights, device)
        result = distil(student, teacher, holdout, config, context, watch=watch, pairs=workload.pairs, memory=memory)
    else:
        result = distil(student, None, holdout, config, context, watch=watch)
    scores = evaluate(student, workload.eval_set(), device=device)
    return student, {
        **scores._asdict(),
        "epochs_run": result.epochs,
        "loss": result.losses[-1],
        "compute_seconds": time.perf_counter() - started,
    }


@lru_cache(maxsize=4)
def _memory(layers: tuple[str, ...], _teacher_and_holdout: str, _batches: Hashable) -> MapMemory:
    """Cache of a teacher's attention maps, at most 4 of 100 MB in a worker.

    Trials differ in betas and layers more often than in these arguments.
    """
    return MapMemory(layers, most_bytes=100_000_000)


def _digest(*arrays: Array) -> str:
    """The same for the same bytes."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def as_arrays(state: Mapping[str, Tensor]) -> Weights:
    """Weights as numpy arrays; unlike tensors, Ray shares them without a copy."""
    return {name: value.detach().cpu().contiguous().numpy() for name, value in state.items()}


def _network(model: str, classes: int, weights: Weights, device: torch.device) -> nn.Module:
    state = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
    return models.with_weights(model, classes, state).to(device)


def _images(images: Array, labels: Array) -> LabelledImages:
    with warnings.catch_warnings():
        # Shared memory is read-only, and nothing here writes to it: batches are copied out.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels))

"""The confirmation's plan: trials to run again, their twins and draws.

The search picks the best of many noisy runs, so its own scores flatter its pick. The recommended point, the knee, the
ends of the front and the controls are erased again on fresh draws, and scored on unused test images. A point's twin is
the same erase with beta = 0, on the same draw and batches: their difference is the effect of distillation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial

from nad.errors import EraseDiverged
from nad.progress import Progress
from nad.seeds import derive
from reports.analysis.frontier import Bound, front_order, knee
from search_spaces import Point
from study.engine.erase_task import Workload, describe_point, measure
from study.record.exports import search_outcome
from study.stages.repeats import key_prefix


class ConfirmationRun(NamedTuple):
    """One erase with these settings on one draw (from 1)."""

    point: Point
    draw: int
    clean_model: str = ""
    """sha256 of the erased clean model; empty for the victim."""

    @property
    def key(self) -> str:
        """Its attribute of the study."""
        return f"{run_prefix(self.point, self.clean_model)}{self.draw}"

    @property
    def argument(self) -> tuple[int, dict[str, Any]]:
        """Its argument as a task."""
        return self.draw, describe_point(self.point)


def run_prefix(point: Point, clean_model: str = "") -> str:
    """Common start of the keys of a point's runs; trials with equal settings share it."""
    erased = f" clean {clean_model[:16]}" if clean_model else ""
    return key_prefix(f"confirmation{erased}", describe_point(point))


class Chosen(NamedTuple):
    """Trials to confirm."""

    answer: list[FrozenTrial]
    """The recommended one and the controls."""
    landmarks: list[FrozenTrial]
    """The knee and the ends of the front, unless already in the answer."""


def chosen(study: optuna.Study, bound: Bound) -> Chosen:
    """The trials to confirm after the trials so far."""
    complete, cost, pick = search_outcome(study, bound)
    if not complete:
        return Chosen([], [])
    controls = [index for index, trial in enumerate(complete) if "control" in trial.user_attrs]
    answer = dict.fromkeys(controls if pick is None else [pick, *controls])
    front, bend = front_order(cost), knee(cost)
    marks = (*([] if bend is None else [bend]), int(front[0]), int(front[-1]))
    landmarks = dict.fromkeys(index for index in marks if index not in answer)
    return Chosen([complete[index] for index in answer], [complete[index] for index in landmarks])


def twin(point: Point) -> Point:
    """The same settings without distillation; fine-tuning is its own twin."""
    return Point(point.clean_fraction, point.erase.twin())


def plan(points: Iterable[Point], draws: int) -> list[ConfirmationRun]:
    """Every run of these points and their twins, each once, draw by draw."""
    distinct = dict.fromkeys(settings for point in points for settings in (point, twin(point)))
    return [ConfirmationRun(point, draw) for draw in range(1, draws + 1) for point in distinct]


def clean_plan(point: Point, draws: int, clean_model: str) -> list[ConfirmationRun]:
    """Every run of a point on a clean model, on the same draws as in `plan`."""
    return [ConfirmationRun(point, draw, clean_model) for draw in range(1, draws + 1)]


def run_once(
    argument: tuple[int, dict[str, Any]], workloads: Mapping[int, Workload], progress: Progress | None = None
) -> dict[str, Any]:
    """One run in its worker. A point and its twin share the draw's seed, and so their batches.

    A diverged erase returns {"error": why}, a result.
    """
    draw, params = argument
    workload = workloads[draw]
    try:
        return dict(measure(params, derive(workload.seed, "confirmation", draw), workload, progress=progress))
    except EraseDiverged as error:
        return {"error": str(error)}

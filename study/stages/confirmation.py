"""The confirmation's plan: settings to run again, their twins and draws.

A search picks the best of many noisy estimates, so they flatter its pick. The recommended setting and the controls are
erased again on fresh draws, and scored on unused test images. A setting's twin is the same erase with beta = 0, on the
same draw and batches: their difference is the effect of distillation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import optuna

from nad.errors import EraseDiverged
from nad.progress import Progress
from nad.seeds import derive
from nad.training import described
from reports.analysis.frontier import Bound
from search_spaces import Point
from study.engine.erase_task import Workload, measure
from study.record.outcome import SearchOutcome
from study.stages.repeats import key_prefix

FRESH = 1000
"""Draws up to this one belong to the search."""


class ConfirmationRun(NamedTuple):
    """One erase with these settings on one fresh draw."""

    point: Point
    draw: int
    clean_model: str = ""
    """sha256 of the erased clean model; empty for the victim."""

    @property
    def key(self) -> str:
        """Its attribute of the study."""
        return f"{run_prefix(self.point, self.clean_model)}{self.draw}"

    @property
    def argument(self) -> tuple[int, Point]:
        """Its argument as a task."""
        return self.draw, self.point


def run_prefix(point: Point, clean_model: str = "") -> str:
    """Common start of the keys of a point's runs; trials with equal settings share it."""
    erased = f" clean {clean_model[:16]}" if clean_model else ""
    return key_prefix(f"confirmation{erased}", [point.clean_fraction, described(point.erase)])


def chosen(study: optuna.Study, bound: Bound) -> list[Point]:
    """The settings to confirm after the trials so far: the recommended one and the controls."""
    outcome = SearchOutcome.of(study, bound)
    controls = [index for index, first in enumerate(outcome.settings) if "control" in first.user_attrs]
    picked = [] if outcome.pick is None else [outcome.pick]
    return [outcome.point(index) for index in dict.fromkeys([*picked, *controls])]


def twin(point: Point) -> Point:
    """The same settings without distillation; fine-tuning is its own twin."""
    return Point(point.clean_fraction, point.erase.twin())


def plan(points: Iterable[Point], draws: int) -> list[ConfirmationRun]:
    """Every run of these points and their twins, each once, draw by draw."""
    distinct = dict.fromkeys(settings for point in points for settings in (point, twin(point)))
    return [ConfirmationRun(point, draw) for draw in fresh(draws) for point in distinct]


def fresh(draws: int) -> range:
    """So many draws that no search uses."""
    return range(FRESH + 1, FRESH + 1 + draws)


def clean_plan(point: Point, draws: int, clean_model: str) -> list[ConfirmationRun]:
    """Every run of a point on a clean model, on the same draws as in `plan`."""
    return [ConfirmationRun(point, draw, clean_model) for draw in fresh(draws)]


def run_once(
    argument: tuple[int, Point], workloads: Mapping[int, Workload], progress: Progress | None = None
) -> dict[str, Any]:
    """One run in its worker. A point and its twin share the draw's seed, and so their batches.

    A diverged erase returns {"error": why}, a result.
    """
    draw, point = argument
    workload = workloads[draw]
    try:
        return dict(measure(point, derive(workload.seed, "confirmation", draw), workload, progress=progress))
    except EraseDiverged as error:
        return {"error": str(error)}

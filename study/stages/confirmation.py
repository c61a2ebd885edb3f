"""Running the points that matter again: fresh seeds, other draws of clean images, the test images, each point's twin.

The search picks the best of many noisy runs, so its own scores flatter what it picked. Here the recommended point, the
knee, the ends of the front and the controls are erased again by defenders who drew their clean images anew, and scored
on test images that nothing was tuned on. The twin of a point is the same erase with beta = 0, by the same defender in
the same batches: what the two differ by is what distillation added.

The study's storage is the record here too: one attribute of the study for each run, so that a confirmation goes on
where it was interrupted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from nad.attacks.poisoning import attacked
from nad.errors import EraseDiverged
from nad.progress import Progress
from nad.scenario import Scenario
from nad.seeds import derive
from reports.analysis import intervals
from reports.analysis.frontier import Bound, front_order, knee
from reports.analysis.objectives import OBJECTIVE_NAMES
from search_spaces import Point
from study.engine import tasks
from study.engine.erase_task import Workload, describe_point, measure
from study.record.exports import search_outcome

VICTIM = "confirmation victim"
"""Attribute of the study: the victim's scores on the test images."""

CLEAN_MODEL = "confirmation clean model"
"""Attribute of the study: `sha256` of a clean model of the victim's recipe, and its scores on the test images."""

NOTHING: Mapping[str, Any] = {"test": None, "twin": None}
"""What summary.json says of a point that was not confirmed."""


class Run(NamedTuple):
    """One erase of a confirmation: these settings, by this defender (from 1)."""

    point: Point
    draw: int
    clean_model: str = ""
    """sha256 of the clean model that is erased; empty for the victim."""

    @property
    def key(self) -> str:
        """Its attribute in the study's record."""
        return f"{_prefix(self.point, self.clean_model)}{self.draw}"


def _prefix(point: Point, clean_model: str = "") -> str:
    """What the keys of all of a point's runs begin with; equal settings share them, whichever trial they confirm."""
    settings = json.dumps(describe_point(point), sort_keys=True)
    erased = f"clean {clean_model[:16]} " if clean_model else ""
    return f"confirmation {erased}{hashlib.sha256(settings.encode()).hexdigest()[:16]} "


@dataclass(frozen=True)
class Counts:
    """Test images that a share is counted over."""

    asr: int
    acc: int

    @classmethod
    def of(cls, scenario: Scenario) -> Counts:
        """Images that the trigger should turn, and all images."""
        labels = scenario.dataset.test.labels
        return cls(asr=int(attacked(scenario.attack, labels).sum()), acc=len(labels))


class Chosen(NamedTuple):
    """The trials worth confirming."""

    answer: list[FrozenTrial]
    """The recommended one, and the controls that it is compared with."""
    landmarks: list[FrozenTrial]
    """The knee and the ends of the front, where they are others."""


def chosen(study: optuna.Study, bound: Bound) -> Chosen:
    """What to confirm, as the search stands."""
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
    """The same by the same defender without distillation; fine-tuning is its own twin."""
    return Point(point.clean_fraction, point.erase.twin())


def plan(points: Iterable[Point], draws: int) -> list[Run]:
    """Every run that confirms these points and their twins, each once, one draw after another."""
    distinct = dict.fromkeys(settings for point in points for settings in (point, twin(point)))
    return [Run(point, draw) for draw in range(1, draws + 1) for point in distinct]


def clean_plan(point: Point, draws: int, clean_model: str) -> list[Run]:
    """The runs that show what a point costs a model without a backdoor: by the same defenders as in `plan`."""
    return [Run(point, draw, clean_model) for draw in range(1, draws + 1)]


class Recorded(Protocol):
    """A run that one attribute of the study records."""

    @property
    def key(self) -> str: ...


R = TypeVar("R", bound=Recorded)


def missing(study: optuna.Study, runs: Iterable[R]) -> list[R]:
    """Those of the runs that the record does not hold yet."""
    recorded = study.user_attrs
    return [run for run in runs if run.key not in recorded]


def confirm(
    study: optuna.Study,
    runs: Sequence[Run],
    workloads: Mapping[int, Workload],
    *,
    cpus: float,
    gpus: float,
    on_done: Callable[[int], None],
    on_progress: Callable[[Sequence[float]], None],
) -> None:
    """Make these runs in parallel; each is recorded as it ends, and then on_done hears how many have.

    workloads: of each draw, with its own holdout, its own teachers, and the test images as the evaluation set.
    """
    ended = 0

    def keep(index: int, scores: Mapping[str, Any]) -> None:
        nonlocal ended
        study.set_user_attr(runs[index].key, dict(scores))
        ended += 1
        on_done(ended)

    arguments = [(run.draw, describe_point(run.point)) for run in runs]
    tasks.run_tasks(
        run_once,
        arguments,
        payload=dict(workloads),
        cpus=cpus,
        gpus=gpus,
        on_done=keep,
        on_progress=on_progress,
    )


def run_once(
    argument: tuple[int, dict[str, Any]], workloads: Mapping[int, Workload], progress: Progress | None = None
) -> dict[str, Any]:
    """One run in its worker. A point and its twin share the draw's seed, and so their batches.

    An erase that diverges is a result, not a mistake: it returns {"error": why}.
    """
    draw, params = argument
    workload = workloads[draw]
    try:
        return dict(measure(params, derive(workload.seed, "confirmation", draw), workload, progress=progress))
    except EraseDiverged as error:
        return {"error": str(error)}


@dataclass(frozen=True)
class Reader:
    """What a study's record says now of its confirmation, as summary.json has it."""

    recorded: Mapping[str, Any]
    """The study's attributes."""
    point_of: Callable[[FrozenTrial], Point]
    counts: Counts

    def confirmed(self, trial: FrozenTrial | None) -> dict[str, Any]:
        """`test` and `twin` of a trial's settings, or of the victim (None)."""
        if trial is None:
            return victim_results(self.recorded, self.counts)
        return results(self.recorded, self.point_of(trial), self.counts)

    def clean_model(self, trial: FrozenTrial) -> dict[str, Any] | None:
        """`clean_model` of a trial's settings: what they cost where there is no backdoor."""
        return clean_results(self.recorded, self.point_of(trial), self.counts)


def results(recorded: Mapping[str, Any], point: Point, counts: Counts) -> dict[str, Any]:
    """`test` and `twin` of a point as summary.json has them; None where nothing was run.

    recorded: the study's attributes.
    """
    ours, twins = _by_draw(recorded, point), _by_draw(recorded, twin(point))
    if not ours:
        return dict(NOTHING)
    test = summarise(ours, counts)
    if not twins or not point.erase.weights:
        return {**NOTHING, "test": test}
    pairs = [(ours[draw], twins[draw]) for draw in sorted(ours.keys() & twins.keys())]
    finished = [(one, other) for one, other in pairs if "error" not in one and "error" not in other]
    added: dict[str, Any] = {"pairs": len(finished)}
    for name in OBJECTIVE_NAMES:
        differences = [one[name] - other[name] for one, other in finished]
        added[f"{name}_added"] = float(np.mean(differences)) if differences else None
        added[f"{name}_added_ci"] = intervals.of_difference(differences)
    return {"test": test, "twin": {**summarise(twins, counts), **added}}


def victim_results(recorded: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    """`test` and `twin` of the victim itself, which is scored once: it depends on no defender."""
    scores = recorded.get(VICTIM)
    return {**NOTHING, "test": _scored_once(scores, counts) if scores else None}


def clean_results(recorded: Mapping[str, Any], point: Point, counts: Counts) -> dict[str, Any] | None:
    """A clean model's test scores before and after a point's erase, and what it cost; None where it was not run."""
    model = recorded.get(CLEAN_MODEL)
    if model is None:
        return None
    runs = _by_draw(recorded, point, model["sha256"])
    if not runs:
        return None
    changes = [runs[draw]["acc"] - model["acc"] for draw in sorted(runs) if "error" not in runs[draw]]
    return {
        "before": _scored_once(model, counts),
        "after": summarise(runs, counts),
        "acc_change": float(np.mean(changes)) if changes else None,
        "acc_change_ci": intervals.of_difference(changes),
    }


def _by_draw(recorded: Mapping[str, Any], point: Point, clean_model: str = "") -> dict[int, dict[str, Any]]:
    """What each draw's run of these settings recorded."""
    prefix = _prefix(point, clean_model)
    return {int(key.removeprefix(prefix)): value for key, value in recorded.items() if key.startswith(prefix)}


def _scored_once(scores: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    """`test` of a model that no seed moves any more, as summary.json has it: its intervals are over the images."""
    return {
        "seeds": 1,
        "diverged": 0,
        "runs": [{"draw": 0, **_measured(scores)}],
        **_measured(scores),
        **{f"{name}_ci": intervals.of_share(scores[name], getattr(counts, name)) for name in OBJECTIVE_NAMES},
    }


def _measured(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The objectives and the balanced accuracy, None in runs before it was measured."""
    return {**{name: scores[name] for name in OBJECTIVE_NAMES}, "balanced_acc": scores.get("balanced_acc")}


def summarise(runs: Mapping[int, Mapping[str, Any]], counts: Counts) -> dict[str, Any]:
    """`test` of runs by draw, as summary.json has it.  counts: test images, for the intervals."""
    finished = {draw: runs[draw] for draw in sorted(runs) if "error" not in runs[draw]}
    summary: dict[str, Any] = {"seeds": len(finished), "diverged": len(runs) - len(finished)}
    summary["runs"] = [{"draw": draw, **_measured(run)} for draw, run in finished.items()]
    balanced = [run["balanced_acc"] for run in finished.values() if "balanced_acc" in run]
    summary["balanced_acc"] = float(np.mean(balanced)) if balanced and len(balanced) == len(finished) else None
    for name in OBJECTIVE_NAMES:
        values = [scores[name] for scores in finished.values()]
        summary[name] = float(np.mean(values)) if values else None
        summary[f"{name}_ci"] = intervals.of_score(values, getattr(counts, name))
    return summary

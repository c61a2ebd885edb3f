"""Confirmed scores in the layout of summary.json: means, intervals, paired differences to the twins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nad.attacks.poisoning import attacked
from nad.scenario import Scenario
from reports.analysis import intervals
from reports.analysis.objectives import OBJECTIVE_NAMES
from search_spaces import Point
from study.stages.confirmation import run_prefix, twin
from study.stages.repeats import by_draw

VICTIM = "confirmation victim"
"""Attribute of the study: the victim's scores on the test images."""

CLEAN_MODEL = "confirmation clean model"
"""Attribute of the study: `sha256` of a clean model of the victim's recipe, and its scores on the test images."""

NOTHING: Mapping[str, Any] = {"test": None, "twin": None}
"""Entry of an unconfirmed point in summary.json."""


@dataclass(frozen=True)
class Counts:
    """Numbers of test images behind ASR and ACC."""

    asr: int
    acc: int

    @classmethod
    def of(cls, scenario: Scenario) -> Counts:
        """Counts for an attack: images it should turn, and all."""
        labels = scenario.dataset.test.labels
        return cls(asr=int(attacked(scenario.attack, labels).sum()), acc=len(labels))


@dataclass(frozen=True)
class Reader:
    """A study's confirmed scores, in the layout of summary.json."""

    recorded: Mapping[str, Any]
    """The study's attributes."""
    counts: Counts

    def confirmed(self, point: Point | None) -> dict[str, Any]:
        """`test` and `twin` of a setting, or of the victim (None)."""
        if point is None:
            return victim_results(self.recorded, self.counts)
        return results(self.recorded, point, self.counts)

    def clean_model(self, point: Point) -> dict[str, Any] | None:
        """`clean_model` of a setting: its cost without a backdoor."""
        return clean_results(self.recorded, point, self.counts)


def results(recorded: Mapping[str, Any], point: Point, counts: Counts) -> dict[str, Any]:
    """`test` and `twin` of a point in summary.json; None for a point without runs.

    recorded: the study's attributes.
    """
    ours, twins = by_draw(recorded, run_prefix(point)), by_draw(recorded, run_prefix(twin(point)))
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
    """`test` and `twin` of the victim, scored once: it depends on no draw."""
    scores = recorded.get(VICTIM)
    return {**NOTHING, "test": _scored_once(scores, counts) if scores else None}


def clean_results(recorded: Mapping[str, Any], point: Point, counts: Counts) -> dict[str, Any] | None:
    """A clean model's test scores before and after a point's erase, and the change; None without runs."""
    model = recorded.get(CLEAN_MODEL)
    if model is None:
        return None
    runs = by_draw(recorded, run_prefix(point, model["sha256"]))
    if not runs:
        return None
    changes = [runs[draw]["acc"] - model["acc"] for draw in sorted(runs) if "error" not in runs[draw]]
    return {
        "before": _scored_once(model, counts),
        "after": summarise(runs, counts),
        "acc_change": float(np.mean(changes)) if changes else None,
        "acc_change_ci": intervals.of_difference(changes),
    }


def _scored_once(scores: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    """`test` of a fixed model in summary.json, with intervals over the images."""
    return {
        "seeds": 1,
        "diverged": 0,
        "runs": [{"draw": 0, **_measured(scores)}],
        **_measured(scores),
        **{f"{name}_ci": intervals.of_share(scores[name], getattr(counts, name)) for name in OBJECTIVE_NAMES},
    }


def _measured(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The objectives and the balanced accuracy; None in older runs without it."""
    return {**{name: scores[name] for name in OBJECTIVE_NAMES}, "balanced_acc": scores.get("balanced_acc")}


def summarise(runs: Mapping[int, Mapping[str, Any]], counts: Counts) -> dict[str, Any]:
    """`test` of runs by draw in summary.json.  counts: test images, for the intervals."""
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

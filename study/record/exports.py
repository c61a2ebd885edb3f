"""The record as files for other programs: trials.csv, trials.parquet, summary.json; see docs/summary.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.trial import FrozenTrial, TrialState

from nad.evaluation import guess_limit
from nad.scenario import Scenario
from nad.victim import Victim
from reports.analysis.convergence import Plateau, plateau
from reports.analysis.frontier import Bound, constrained_pick, front_order, hypervolume
from reports.analysis.objectives import OBJECTIVE_NAMES, OBJECTIVES, Floats, costs
from reports.trial_table import SCORES
from study.record.writing import write_bytes, write_text
from study.search import times

_COLUMNS = (
    *("number", "state", "control", "warm_start", *SCORES, "replicate", "seed", "started", "seconds"),
    *("compute_seconds", "host", "error", "traceback", "curve"),
)
_TYPES = dict.fromkeys(("number", "replicate", "seed"), pa.int64()) | dict.fromkeys(
    (*SCORES, "seconds", "compute_seconds"), pa.float64()
)
"""Types of the Parquet table's columns other than text."""


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """One row per started trial, by number; a column `params_NAME` per hyperparameter.

    dtype object: pandas' own types would turn whole numbers beside an empty cell into floats.
    """
    begun = [trial for trial in study.get_trials(deepcopy=False) if trial.state is not TrialState.WAITING]
    rows = [_row(trial) for trial in begun]
    names = sorted({name for row in rows for name in row if name.startswith("params_")})
    return pd.DataFrame(rows, columns=[*_COLUMNS, *names], dtype=object)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attrs = trial.user_attrs
    scores = dict(zip(OBJECTIVE_NAMES, trial.values or (), strict=False))
    return {
        **{name: attrs.get(name) for name in _COLUMNS},
        **scores,
        **{f"params_{name}": value for name, value in trial.params.items()},
        "number": trial.number,
        "state": trial.state.name,
        "seconds": times.seconds(trial),
        "curve": json.dumps([[entry[name] for name in OBJECTIVE_NAMES] for entry in attrs.get("curve", ())]),
    }


class SearchOutcome(NamedTuple):
    """The result of a search so far."""

    complete: list[FrozenTrial]
    costs: Floats
    """(n, 2), of the complete trials; see reports.objectives."""
    pick: int | None
    """Index of the recommended one, if any keeps enough accuracy."""


def bound_of(victim: Victim, scenario: Scenario, max_acc_drop: float) -> Bound:
    """The accuracy to keep on this victim's validation images."""
    guess = guess_limit(scenario.clean_validation.labels)
    return Bound(max_acc_drop, victim.scores.acc, victim.scores.balanced_acc, guess)


def search_outcome(study: optuna.Study, bound: Bound) -> SearchOutcome:
    """The complete trials, their costs, and the recommended one."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = np.array([trial.values for trial in complete], dtype=float).reshape(-1, len(OBJECTIVES))
    balanced_acc = np.array([trial.user_attrs.get("balanced_acc", np.nan) for trial in complete], dtype=float)
    pick = constrained_pick(values[:, 0], values[:, 1], balanced_acc, bound)
    return SearchOutcome(complete, costs(values), pick)


class Baselines(Protocol):
    """Results of other defences, from `study.stages.baselines`."""

    @property
    def controls(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def lost(self) -> Sequence[Mapping[str, Any]]: ...


class Confirmation(Protocol):
    """Results of settings run again, from `study.stages.confirmation_results`."""

    def confirmed(self, trial: FrozenTrial | None) -> Mapping[str, Any]: ...
    def clean_model(self, trial: FrozenTrial) -> Mapping[str, Any] | None: ...


def results(
    study: optuna.Study,
    victim: Mapping[str, float],
    bound: Bound,
    confirmation: Confirmation,
    baselines: Baselines,
) -> dict[str, Any]:
    """Results of the trials so far: counts, hypervolume, front, controls and the recommended point.

    victim: validation `acc` and `asr` before any defence.  baselines: further controls, measured outside trials.
    """
    complete, cost, pick = search_outcome(study, bound)
    why = _why(pick, bound)

    def point(trial: FrozenTrial) -> dict[str, Any]:
        return {**_point(trial), **confirmation.confirmed(trial)}

    def recommended(trial: FrozenTrial) -> dict[str, Any]:
        return {**point(trial), "clean_model": confirmation.clean_model(trial), "why": why}

    no_defence = {"name": "no-defence", "number": None, "params": {}, "validation": dict(victim)}
    return {
        "trials": _counts(study),
        "hypervolume": hypervolume(cost),
        "front": [point(complete[index]) for index in front_order(cost)],
        "controls": [
            {**no_defence, **confirmation.confirmed(None)},
            *({"name": t.user_attrs["control"], **point(t)} for t in complete if "control" in t.user_attrs),
            *baselines.controls,
        ],
        "lost_baselines": baselines.lost,
        "recommended": None if pick is None else recommended(complete[pick]),
        "recommended_why": why,
    }


def stopped(study: optuna.Study, wanted: int) -> str | None:
    """One sentence if the front stopped growing before the wanted number of trials, else None."""
    counts = _counts(study)
    if counts["running"] or counts["complete"] + counts["pruned"] >= wanted:
        return None
    found = converged(study)
    return None if found is None else str(found)


def converged(study: optuna.Study) -> Plateau | None:
    """The front's plateau, if it stopped growing, with trials in the order of their ends."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ordered = sorted(complete, key=lambda trial: (times.ended(trial), trial.number))
    return plateau(costs(np.array([trial.values for trial in ordered], dtype=float).reshape(-1, len(OBJECTIVES))))


def _why(pick: int | None, bound: Bound) -> str:
    floor = f"at most {bound.max_drop * 100:g} points of accuracy lost against the victim's {bound.acc:.1%}"
    floor += f", as many of balanced accuracy against its {bound.balanced_acc:.1%}"
    if bound.guess > bound.balanced_acc - bound.max_drop:
        floor += f", and more of it than the {bound.guess:.1%} up to which a model only guesses"
    if pick is None:
        return f"No complete trial meets the constraint: {floor}."
    return f"The lowest validation ASR with {floor}."


def _counts(study: optuna.Study) -> dict[str, int]:
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return {
        "complete": states.count(TrialState.COMPLETE),
        "failed": states.count(TrialState.FAIL),
        "pruned": states.count(TrialState.PRUNED),
        "running": states.count(TrialState.RUNNING),
    }


def _point(trial: FrozenTrial) -> dict[str, Any]:
    scores = dict(zip(OBJECTIVE_NAMES, trial.values, strict=True))
    return {
        "number": trial.number,
        "params": dict(trial.params),
        "validation": {**scores, "balanced_acc": trial.user_attrs.get("balanced_acc")},
    }


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, beside, then rename; only the owner may read it."""
    write_text(path, table.to_csv(index=False))


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, likewise, with types even for empty columns."""
    columns = {name: _typed(name, table[name]) for name in table.columns}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    write_bytes(path, sink.getvalue().to_pybytes())


def _shown(value: Any) -> Any:
    """Texts as UTF-8, with question marks for other bytes in file names."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _typed(name: str, column: pd.Series[Any]) -> pa.Array:
    """An Arrow array; hyperparameters of mixed types become text, as in the CSV."""
    values = [None if pd.isna(value) else _shown(value) for value in column.tolist()]
    if not name.startswith("params_"):
        return pa.array(values, _TYPES.get(name, pa.string()))
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])

"""The record as files for other programs: trials, settings, summary; see docs/summary.md."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

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
from reports.analysis.frontier import Bound, hypervolume
from reports.analysis.objectives import OBJECTIVE_NAMES, costs
from reports.trial_table import SCORES
from search_spaces import Point
from study.record.outcome import SearchOutcome
from study.record.writing import write_bytes, write_text
from study.search import times
from study.search.settings import ESTIMATED, SettingTable, draw_of, setting_of

_COLUMNS = (
    *("number", "setting", "draw", "state", "control", "portfolio", "warm_start", *SCORES, "seed", "started"),
    *("seconds", "compute_seconds", "host", "error", "traceback", "curve"),
)
_TYPES = dict.fromkeys(("number", "setting", "draw", "seed"), pa.int64()) | dict.fromkeys(
    (*SCORES, "seconds", "compute_seconds"), pa.float64()
)
"""Types of the Parquet table's columns other than text."""
_ESTIMATES = tuple(f"{name}{end}" for name in ESTIMATED for end in ("", "_low", "_high"))
_SETTING_COLUMNS = ("setting", "control", "portfolio", "draws", "reliability", *_ESTIMATES, "front", "recommended")


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """One row per started trial, by number; a column `params_NAME` per hyperparameter.

    dtype object: pandas' own types would turn whole numbers beside an empty cell into floats.
    """
    trials = study.get_trials(deepcopy=False)
    table = SettingTable(trials)
    rows = [_row(trial, table) for trial in trials if trial.state is not TrialState.WAITING]
    return _frame(rows, _COLUMNS)


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    names = sorted({name for row in rows for name in row if name.startswith("params_")})
    return pd.DataFrame(rows, columns=[*columns, *names], dtype=object)


def _params(trial: FrozenTrial) -> dict[str, Any]:
    return {f"params_{name}": value for name, value in setting_of(trial).items()}


def settings_table(study: optuna.Study, bound: Bound) -> pd.DataFrame:
    """One row per setting with a complete trial: its estimates with 95% intervals, and a column per hyperparameter."""
    found = SearchOutcome.of(study, bound)
    estimates, (low, high) = found.estimates, found.estimates.interval()
    scores = np.stack((estimates.mean, low, high), axis=2).reshape(len(found.settings), len(_ESTIMATES))
    rows = [
        {
            **_params(first),
            **{name: first.user_attrs.get(name) for name in ("control", "portfolio")},
            "setting": first.number,
            "draws": int(estimates.draws[index]),
            "reliability": float(estimates.reliability[index]),
            **dict(zip(_ESTIMATES, scores[index].tolist(), strict=True)),
            "front": index in found.front,
            "recommended": index == found.pick,
        }
        for index, first in enumerate(found.settings)
    ]
    return _frame(rows, _SETTING_COLUMNS)


def _row(trial: FrozenTrial, table: SettingTable) -> dict[str, Any]:
    attrs = trial.user_attrs
    scores = dict(zip(OBJECTIVE_NAMES, trial.values or (), strict=False))
    return {
        **{name: attrs.get(name) for name in _COLUMNS},
        **scores,
        **_params(trial),
        "number": trial.number,
        "setting": table.number_of(trial),
        "draw": draw_of(trial),
        "state": trial.state.name,
        "seconds": times.seconds(trial),
        "curve": json.dumps([[entry[name] for name in OBJECTIVE_NAMES] for entry in attrs.get("curve", ())]),
    }


def bound_of(victim: Victim, scenario: Scenario, max_acc_drop: float) -> Bound:
    """The accuracy to keep on this victim's validation images."""
    guess = guess_limit(scenario.clean_validation.labels)
    return Bound(max_acc_drop, victim.scores.acc, victim.scores.balanced_acc, guess)


class Baselines(Protocol):
    """Results of other defences, from `study.stages.baselines`."""

    @property
    def controls(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def lost(self) -> Sequence[Mapping[str, Any]]: ...


class Confirmation(Protocol):
    """Results of settings run again, from `study.stages.confirmation_results`."""

    def confirmed(self, point: Point | None) -> Mapping[str, Any]: ...
    def clean_model(self, point: Point) -> Mapping[str, Any] | None: ...


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
    found = SearchOutcome.of(study, bound)
    why = _why(found.pick, bound)

    def point(index: int) -> dict[str, Any]:
        return {**_point(found, index), **confirmation.confirmed(found.point(index))}

    def recommended(index: int) -> dict[str, Any]:
        return {**point(index), "clean_model": confirmation.clean_model(found.point(index)), "why": why}

    no_defence = {"name": "no-defence", "number": None, "params": {}, "validation": dict(victim)}
    return {
        "trials": _counts(study),
        "hypervolume": hypervolume(found.costs[found.front]),
        "front": [point(index) for index in found.front],
        "controls": [
            {**no_defence, **confirmation.confirmed(None)},
            *(
                {"name": first.user_attrs["control"], **point(index)}
                for index, first in enumerate(found.settings)
                if "control" in first.user_attrs
            ),
            *baselines.controls,
        ],
        "lost_baselines": baselines.lost,
        "recommended": None if found.pick is None else recommended(found.pick),
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
    """The front's plateau, if it stopped growing, with settings in the order of their first ends."""
    table = SettingTable(study.get_trials(deepcopy=False))
    first = [table.first[int(number)] for number in table.estimates.settings]
    order = sorted(range(len(first)), key=lambda index: (times.ended(first[index]), first[index].number))
    return plateau(costs(table.estimates.mean[order, :2]))


def _why(pick: int | None, bound: Bound) -> str:
    floor = f"at most {bound.max_drop * 100:g} points of accuracy lost against the victim's {bound.acc:.1%}"
    floor += f", as many of balanced accuracy against its {bound.balanced_acc:.1%}"
    if bound.guess > bound.balanced_acc - bound.max_drop:
        floor += f", and more of it than the {bound.guess:.1%} up to which a model only guesses"
    if pick is None:
        return f"No setting meets the constraint: {floor}."
    return f"The lowest estimated validation ASR with {floor}."


def _counts(study: optuna.Study) -> dict[str, int]:
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return {
        "complete": states.count(TrialState.COMPLETE),
        "failed": states.count(TrialState.FAIL),
        "pruned": states.count(TrialState.PRUNED),
        "running": states.count(TrialState.RUNNING),
    }


def _point(found: SearchOutcome, index: int) -> dict[str, Any]:
    """A setting in summary.json; its number is that of its first complete trial."""
    estimates, first = found.estimates, found.settings[index]
    low, high = (ends[index].tolist() for ends in estimates.interval())
    asr, acc, balanced_acc = estimates.mean[index].tolist()
    return {
        "number": first.number,
        "params": setting_of(first),
        "validation": {
            "asr": asr,
            "acc": acc,
            "balanced_acc": None if math.isnan(balanced_acc) else balanced_acc,
            "asr_ci": (low[0], high[0]),
            "acc_ci": (low[1], high[1]),
            "draws": int(estimates.draws[index]),
            "reliability": float(estimates.reliability[index]),
        },
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

"""The page's tables as text: the front, all trials, and the failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.analysis.frontier import front_order, knee
from reports.analysis.intervals import Interval
from reports.formatting import (
    LAYER_PREFIXES,
    NONE,
    STATE_LABELS,
    control_label,
    distilled,
    duration,
    label,
    layer_names,
    percent,
    quantity,
    readable_params,
    setting,
    with_interval,
)
from reports.study_folder import FreshScores, Scores, Study, trial_scores
from reports.trial_table import trial_costs


class FrontRow(NamedTuple):
    """asr_ci, acc_ci: None in studies of earlier versions.  test: None without confirmation."""

    number: int
    draws: int
    scores: Scores
    asr_ci: Interval | None
    acc_ci: Interval | None
    test: FreshScores | None
    acc_change: float
    setting: dict[str, str]
    notes: tuple[str, ...]


class Cell(NamedTuple):
    """One value: its text, and its key for sorting ('' comes last)."""

    text: str
    key: float | str = ""


class Row(NamedTuple):
    state: str
    on_front: bool
    recommended: bool
    cells: tuple[Cell, ...]


class Column(NamedTuple):
    head: str
    numeric: bool
    cell: Callable[[dict[Any, Any]], Cell]


class Table(NamedTuple):
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


class Run(NamedTuple):
    """One erase of a setting.  seed, seconds: NaN if unknown."""

    number: int
    draw: int
    scores: Scores
    seed: float
    seconds: float
    host: str


class SettingRow(NamedTuple):
    """A setting's estimates with their intervals, and its runs.

    asr, acc: texts.  reliable: enough draws for the front.
    """

    number: int
    asr: str
    acc: str
    runs: tuple[Run, ...]
    reliable: bool
    on_front: bool
    recommended: bool
    name: str
    setting: dict[str, str]


class Failure(NamedTuple):
    """sentence: the first line of the error; details: its other lines and the traceback."""

    number: int
    sentence: str
    details: str


class Pruned(NamedTuple):
    """A pruned trial, and the reason."""

    number: int
    reason: str


def front_rows(study: Study) -> tuple[FrontRow, ...]:
    """The front's settings by rising ASR: the figure in words, also for screen readers."""
    trials = study.reliable.to_dict("records")
    points = trial_costs(study.reliable)
    bend, confirmed = knee(points), study.confirmed

    def notes(index: int) -> tuple[str, ...]:
        trial, chosen = trials[index], study.recommended
        names = [control_label(trial["control"])] if trial["control"] else []
        names += ["recommended"] if chosen and trial["number"] == chosen.number else []
        return (*names, "knee") if index == bend else tuple(names)

    return tuple(
        FrontRow(
            number=trials[index]["number"],
            draws=trials[index]["draws"],
            scores=trial_scores(trials[index]),
            asr_ci=_ends(trials[index], "asr"),
            acc_ci=_ends(trials[index], "acc"),
            test=confirmed[trials[index]["number"]].test if trials[index]["number"] in confirmed else None,
            acc_change=trials[index]["acc"] - study.victim.scores.acc,
            setting=readable_params(trials[index]["params"]),
            notes=notes(index),
        )
        for index in front_order(points)
    )


def setting_rows(study: Study) -> tuple[SettingRow, ...]:
    """All settings by rising ASR, those with too few draws last."""
    front = {row.number for row in front_rows(study)}
    chosen = study.recommended.number if study.recommended else None
    runs: dict[int, list[Run]] = {}
    for trial in study.complete.to_dict("records"):
        scores, (seed, seconds, host) = trial_scores(trial), (trial[name] for name in ("seed", "seconds", "host"))
        found = Run(trial["number"], int(trial["draw"]), scores, seed, seconds, host)
        runs.setdefault(trial["setting"] if study.estimated else trial["number"], []).append(found)
    ordered = study.settings.sort_values(["reliable", "asr"], ascending=[False, True], kind="stable")
    return tuple(
        SettingRow(
            number=row["number"],
            asr=_estimate(row, "asr"),
            acc=_estimate(row, "acc"),
            runs=tuple(sorted(runs[row["setting"] if study.estimated else row["number"]], key=lambda run: run.draw)),
            reliable=row["reliable"],
            on_front=row["number"] in front,
            recommended=row["number"] == chosen,
            name=control_label(row["control"]) if row["control"] else row["portfolio"],
            setting=readable_params(row["params"]),
        )
        for row in ordered.to_dict("records")
    )


def _estimate(row: Mapping[Any, Any], name: str) -> str:
    return with_interval(row[name], _ends(row, name))


def _ends(row: Mapping[Any, Any], name: str) -> Interval | None:
    """The interval of an estimate; None for a single score."""
    ends = row[f"{name}_low"], row[f"{name}_high"]
    return None if np.isnan(ends[0]) else ends


def trials_table(study: Study) -> Table:
    """All trials; one column per hyperparameter."""
    records = study.trials.to_dict("records")
    columns = _columns(records)
    front = set(study.reliable["number"].iloc[front_order(trial_costs(study.reliable))])
    chosen = study.recommended.number if study.recommended else None
    rows = (
        Row(
            state=trial["state"],
            on_front=trial["number"] in front,
            recommended=trial["number"] == chosen,
            cells=tuple(column.cell(trial) for column in columns),
        )
        for trial in records
    )
    return Table(columns, tuple(rows))


def failures(trials: pd.DataFrame) -> tuple[Failure, ...]:
    """Failed trials, by number."""
    failed = trials[trials["state"] == "FAIL"]
    found = []
    for number, error, traceback in zip(failed["number"], failed["error"], failed["traceback"], strict=True):
        sentence, _, rest = error.strip().partition("\n")
        details = "\n\n".join(part for part in (rest.strip("\n"), traceback.strip("\n")) if part)
        found.append(Failure(number, sentence or "The trial left no message.", details))
    return tuple(found)


def pruned(trials: pd.DataFrame) -> tuple[Pruned, ...]:
    """Pruned trials, by number."""
    stopped = trials[trials["state"] == "PRUNED"]
    return tuple(
        Pruned(number, reason.strip() or "The trial left no reason.")
        for number, reason in zip(stopped["number"], stopped["error"], strict=True)
    )


def mean_overhead(complete: pd.DataFrame) -> float | None:
    """Mean seconds of a complete trial outside training and evaluating."""
    overhead = float((complete["seconds"] - complete["compute_seconds"]).mean())
    return None if np.isnan(overhead) else overhead


def _columns(records: Sequence[dict[Any, Any]]) -> tuple[Column, ...]:
    scores = {
        "asr": "ASR",
        "acc": "ACC",
        "balanced_acc": "balanced ACC",
        "acc_non_target": "ACC, other classes",
        "recovery_acc": "recovered",
    }
    repeats = [_number_column("draw", "draw", quantity)] if any(r["draw"] > 0 for r in records) else []
    return (
        Column("trial", True, lambda trial: Cell(str(trial["number"]), trial["number"])),
        Column("state", False, lambda trial: _text(STATE_LABELS[trial["state"]])),
        *(_number_column(score, head, percent) for score, head in scores.items()),
        *_param_columns([record["params"] for record in records]),
        Column("control", False, lambda trial: _text(control_label(trial["control"]))),
        *repeats,
        _number_column("seconds", "time", duration),
        Column("host", False, lambda trial: _text(trial["host"])),
    )


def _param_columns(params: list[dict[str, Any]]) -> list[Column]:
    """Betas stand for the layers' switches, too."""
    every = {name: None for trial in params for name in trial}
    names = [name for name in every if not name.startswith(LAYER_PREFIXES)]
    return [
        *(_beta_column(layer) for layer in layer_names(every)),
        *(_param_column(name, params) for name in names),
    ]


def _param_column(name: str, params: list[dict[str, Any]]) -> Column:
    numeric = all(_is_number(trial[name]) for trial in params if name in trial)
    return Column(label(name), numeric, lambda trial: _setting(name, trial["params"].get(name)))


def _beta_column(layer: str) -> Column:
    """The layer's beta, or nothing for an undistilled layer."""

    def cell(trial: dict[Any, Any]) -> Cell:
        params = trial["params"]
        if layer not in distilled(params):
            return Cell(NONE)
        beta = params.get(f"beta_{layer}")
        return _text("yes") if beta is None else _setting("beta", beta)

    return Column(f"β {layer}", True, cell)


def _number_column(name: str, head: str, text: Callable[[float], str]) -> Column:
    def cell(trial: dict[Any, Any]) -> Cell:
        value = trial[name]
        return Cell(NONE) if pd.isna(value) else Cell(text(value), value)

    return Column(head, True, cell)


def _setting(name: str, value: Any) -> Cell:
    text = setting(name, value)
    return Cell(text, "" if value is None else value if _is_number(value) else text)


def _text(text: str) -> Cell:
    return Cell(text, text)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

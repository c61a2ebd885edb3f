"""Reads trials.csv, the table of all trials; docs/summary.md describes its columns."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.analysis.estimates import estimate
from reports.analysis.objectives import OBJECTIVE_NAMES, Floats, costs
from reports.files import NotBegunError, damaged, read_text

STATES = ("COMPLETE", "RUNNING", "PRUNED", "FAIL")
SCORES = ("asr", "acc", "balanced_acc", "acc_non_target", "recovery_acc")
NEWER = ("balanced_acc", "setting", "draw", "portfolio")
"""Columns missing in earlier versions."""
NUMBERS = ("number", "setting", "draw", "seed", "seconds", "compute_seconds", *SCORES)
TEXTS = ("state", "control", "portfolio", "started", "host", "error", "traceback", "curve")


def read_trials(path: Path) -> pd.DataFrame:
    """One row per trial, by number: the columns of NUMBERS as floats (`number` as int), those of TEXTS, and `params`.

    `params` holds the columns `params_<name>` as one dict per trial, without empty ones. `started` is a time in UTC.
    Raises: ReportError for a table cut off or unlike docs/summary.md; NotBegunError without a row.
    """
    header, rows = _read_rows(path)
    for name in (*NUMBERS, *TEXTS):
        if name not in header and name not in NEWER:
            raise damaged(path, f"has no column {name!r}")
    if not rows:
        raise NotBegunError(
            f"the study in {str(path.parent)!r} has no trials yet; wait for its first one or start it again"
        )
    table = pd.DataFrame(rows, columns=header, dtype=object)
    table[[name for name in NEWER if name not in header]] = ""
    if "setting" not in header:
        table["setting"], table["draw"] = _settings_of_earlier(table)
    trials = table[list(TEXTS)].assign(**{name: _numbers(path, table[name]) for name in NUMBERS})
    trials["started"] = _times(path, trials["started"])
    trials["params"] = pd.Series(_params(table), dtype=object)
    _check_identity(path, trials)
    _check_scores(path, trials)
    _check_curves(path, trials)
    return trials.astype({"number": int, "setting": int}).sort_values("number", ignore_index=True)


def settings_of(complete: pd.DataFrame, *, estimated: bool) -> pd.DataFrame:
    """One row for each setting: its first trial, with its estimates in place of that run's scores.

    Further columns: `draws`; `reliability`; `reliable`, enough for the front; `NAME_error`, the standard error;
    `NAME_low` and `NAME_high`, ends of the 95% interval.
    estimated: False for a study of an earlier version, of one run for each setting: its scores stay as they are.
    """
    if not estimated:
        ends = {f"{name}_{end}": np.nan for name in _ESTIMATED for end in ("low", "high", "error")}
        return complete.assign(draws=1, reliability=np.nan, reliable=True, **ends)
    scores = complete[list(_ESTIMATED)].to_numpy(dtype=float)
    found = estimate(scores, complete["setting"].to_numpy(dtype=int), complete["draw"].to_numpy(dtype=int))
    first = complete.drop_duplicates("setting").set_index("setting", drop=False).loc[found.settings]
    columns: dict[str, Any] = {"draws": found.draws, "reliability": found.reliability, "reliable": found.reliable}
    for k, name in enumerate(_ESTIMATED):
        low, high = (ends[:, k] for ends in found.interval())
        parts = {"": found.mean[:, k], "_low": low, "_high": high, "_error": found.error[:, k]}
        columns |= {f"{name}{part}": values for part, values in parts.items()}
    return first.reset_index(drop=True).assign(**columns)


_ESTIMATED = (*OBJECTIVE_NAMES, "balanced_acc")


def trial_costs(complete: pd.DataFrame) -> Floats:
    """Costs of complete trials, as `reports.analysis.frontier` takes them.  Returns (n, 2)."""
    return costs(complete[list(OBJECTIVE_NAMES)].to_numpy(dtype=float))


def read_curve(text: str) -> Floats:
    """The column `curve` of one trial: ASR and accuracy after each epoch.  Returns (epochs, 2), (0, 2) for none.

    Raises: ValueError when the text is not such a list of fractions.
    """
    curve = np.array(json.loads(text) if text else [], dtype=float)
    if curve.size == 0:
        return np.empty((0, 2))
    if curve.ndim != 2 or curve.shape[1] != 2 or not ((curve >= 0) & (curve <= 1)).all():
        raise ValueError(f"not a curve: {text!r:.60}")
    return curve


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, by the csv module: pandas silently fills a cut-off row with NaN."""
    text = read_text(path)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise damaged(path, f"is not a whole table ({error})") from error
    if not rows or not text.endswith("\n"):
        raise damaged(path, "is cut off")
    for line, row in enumerate(rows[1:], start=1):
        if len(row) != len(rows[0]):
            raise damaged(path, f"has {len(row)} values in row {line}, not {len(rows[0])}")
    return rows[0], rows[1:]


def _numbers(path: Path, column: pd.Series[Any]) -> pd.Series[float]:
    """The column as floats, NaN for empty."""
    numbers = pd.to_numeric(column.where(column != "", "nan"), errors="coerce").astype(float)
    wrong = column[numbers.isna() & ~column.str.lower().isin(["", "nan"])]
    if len(wrong):
        raise damaged(path, f"has {wrong.iloc[0]!r:.60} in column {column.name!r}, a column of numbers")
    return numbers


def _times(path: Path, column: pd.Series[Any]) -> pd.Series[Any]:
    try:
        return pd.to_datetime(column.where(column != ""), format="ISO8601", utc=True)
    except ValueError as error:
        raise damaged(path, "has no ISO 8601 time in column 'started'") from error


def _params(table: pd.DataFrame) -> list[dict[str, Any]]:
    names = [name for name in table.columns if name.startswith("params_")]
    return [
        {name.removeprefix("params_"): _value(text) for name, text in zip(names, row, strict=True) if text != ""}
        for row in table[names].to_numpy()
    ]


def _settings_of_earlier(table: pd.DataFrame) -> tuple[pd.Series[Any], Any]:
    """Settings and draws of an earlier version's table: the first trial with these parameters, and the replicate."""
    names = [name for name in table.columns if name.startswith("params_")]
    alike = table.groupby(names, dropna=False)["number"] if names else table.groupby(lambda _row: 0)["number"]
    return alike.transform("first"), table.get("replicate", pd.Series("0", table.index)).replace("", "0")


def _value(text: str) -> bool | int | float | str:
    """A hyperparameter from its text in the table."""
    if text in {"True", "False"}:
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _check_identity(path: Path, trials: pd.DataFrame) -> None:
    unknown = trials["state"][~trials["state"].isin(STATES)]
    if len(unknown):
        raise damaged(path, f"has the state {unknown.iloc[0]!r:.60}; known: {', '.join(STATES)}")
    if trials["number"].isna().any() or trials["number"].duplicated().any():
        raise damaged(path, "does not give each trial a number of its own")
    if trials[["setting", "draw"]].isna().any(axis=None):
        raise damaged(path, "does not give each trial a setting and a draw")


def _check_scores(path: Path, trials: pd.DataFrame) -> None:
    """Every score is a fraction, and a complete trial has both objectives: NaN is never a score."""
    complete = trials["state"] == "COMPLETE"
    for score in SCORES:
        missing = complete & trials[score].isna() & (score in OBJECTIVE_NAMES)
        wrong = trials[missing | (trials[score].notna() & ~trials[score].between(0, 1))]
        if len(wrong):
            value, number = wrong[score].iloc[0], wrong["number"].iloc[0]
            raise damaged(path, f"has {value:g} as {score} of trial {number:.0f}, not a fraction")


def _check_curves(path: Path, trials: pd.DataFrame) -> None:
    for number, text in zip(trials["number"], trials["curve"], strict=True):
        try:
            read_curve(text)
        except (TypeError, ValueError) as error:
            raise damaged(path, f"has {text!r:.60} as curve of trial {number:.0f}, not a list of scores") from error

"""Readers of a study's folder, and of a command's refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from nad.evaluation import Scores
from study.run import main


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "trials.csv")


def complete_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/study.db")
    return study.get_trials(states=(TrialState.COMPLETE,))


def has_no_trial(folder: Path) -> bool:
    """True for a study refused before any trial: an empty record."""
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db").trials == []


def scores(folder: Path) -> dict[str, tuple[float, ...]]:
    """Scores of each point: parameters and seed to all scores."""
    rows = table(folder)
    named = [name for name in rows if name.startswith("params_")] + ["seed"]
    measured = list(Scores._fields)
    return {row[named].to_json(): tuple(row[measured]) for _, row in rows[rows.state == "COMPLETE"].iterrows()}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, command: Callable[[list[str]], int] = main) -> str:
    """A command's error: one sentence, exit code 2, no traceback."""
    capsys.readouterr()
    assert command(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error

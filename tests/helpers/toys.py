"""A searcher without an engine: toy spaces, and one call to play a trial."""

from __future__ import annotations

from typing import Any

import optuna

from study.search.lost_trial import LostTrial
from study.search.searcher import OptunaSearcher

METRICS = ("asr", "acc")
DIRECTIONS = ("minimize", "maximize")
FINAL = {"final": True, "asr": 0.1, "acc": 0.9}


def fine_space(trial: optuna.Trial) -> dict[str, Any]:
    return {"x": trial.suggest_float("x", 0.0, 1.0)}


def coarse_space(trial: optuna.Trial) -> dict[str, Any]:
    return {"x": trial.suggest_categorical("x", [1, 2])}


def conditional_space(trial: optuna.Trial) -> dict[str, Any]:
    chosen = trial.suggest_categorical("group3", [False, True])
    return {"betas": [trial.suggest_float("beta3", 1.0, 1e4, log=True)] if chosen else []}


def searcher_of(study: optuna.study.Study, wanted: int = 3, **settings: Any) -> OptunaSearcher:
    return OptunaSearcher(study, settings.pop("space", fine_space), METRICS, wanted, **{"seed": 5, **settings})


def play(searcher: OptunaSearcher, outcome: dict[str, Any] | None = None, error: str = "") -> dict[str, Any]:
    """One trial from question to answer; returns its config."""
    config = searcher.suggest("t")
    assert config is not None
    searcher.on_trial_complete("t", FINAL if outcome is None else outcome, LostTrial(error) if error else None)
    return config


def play_all(searcher: OptunaSearcher) -> None:
    while not searcher.finished:
        play(searcher)


def states(study: optuna.study.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]

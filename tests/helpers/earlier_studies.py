"""Folders of earlier studies, for warm starts and forks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from reports.trial_table import NUMBERS, TEXTS

LAYERS = ("group1", "group2", "group3")


def point(**changes: Any) -> dict[str, Any]:
    """A setting inside the space `nad`, none of the controls."""
    plain = {"clean_fraction": 0.05, **{f"distil_{layer}": False for layer in LAYERS}}
    training = {"lr": 0.02, "batch_size": 64, "schedule": "code", "cutout": 3, "epochs": 7}
    return {**plain, **training, **changes}


def study_folder(path: Path, points: list[dict[str, Any]], scores: list[tuple[float, float]]) -> Path:
    """A study's files for a warm start and a report."""
    path.mkdir()
    rows = [
        {**dict.fromkeys((*NUMBERS, *TEXTS), ""), "number": number, "setting": number, "draw": 0}
        | {"state": "COMPLETE", "asr": asr, "acc": acc}
        | {f"params_{name}": value for name, value in params.items()}
        for number, (params, (asr, acc)) in enumerate(zip(points, scores, strict=True))
    ]
    pd.DataFrame(rows).to_csv(path / "trials.csv", index=False)
    texts = ("study", "attack", "dataset", "model", "command", "recommended_why", "created", "host", "victim_sha256")
    summary = dict.fromkeys(texts, "x") | {
        **{name: {} for name in ("versions", "seconds", "attack_settings", "counts")},
        "seed": 0,
        "wanted_trials": 1,
        "max_acc_drop": 0.03,
        "front": [],
        "controls": [],
        "git": None,
        "recommended": None,
        "victim": {"asr": 1.0, "acc": 0.9},
    }
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "config.json").write_text("{}")
    return path


def diagonal(count: int) -> list[tuple[float, float]]:
    """Scores, each better than the next in both objectives."""
    return [(0.1 + 0.02 * rank, 0.9 - 0.02 * rank) for rank in range(count)]

"""A synthetic study's folder: no model was trained, but its scores trade off as real ones do."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

VICTIM = {"acc": 0.7825, "asr": 0.9339}
FRACTIONS = (0.01, 0.05, 0.1, 0.2)
LAYERS = ("group1", "group2", "group3")
ERROR = "the loss of the erase is no longer finite at epoch 3; lower the betas or the learning rate"
TRACEBACK = (
    'Traceback (most recent call last):\n  File "nad/erasure.py", line 141, in distil\n    raise EraseDiverged(text)\n'
    "nad.errors.EraseDiverged: the loss of the erase is no longer finite at epoch 3\n"
)
CONTROLS: tuple[tuple[str, dict[str, Any], float, float], ...] = (
    ("fine-tuning", {"epochs": 10, "clean_fraction": 0.1, "recipe": "code"}, 0.7412, 0.7605),
    ("nad-paper", {"epochs": 10, "clean_fraction": 0.05, "recipe": "paper", "betas": 1000.0}, 0.8127, 0.7688),
    ("nad-code", {"epochs": 20, "clean_fraction": 0.1, "recipe": "code", "betas": 1000.0}, 0.7255, 0.7702),
    ("fine-tuning", {"epochs": 10, "clean_fraction": 0.2, "recipe": "code"}, 0.5713, 0.7712),
)


def _control_params(given: dict[str, Any]) -> dict[str, Any]:
    params = {name: value for name, value in given.items() if name != "betas"}
    switches = {f"distil_{layer}": "betas" in given for layer in LAYERS}
    return switches | ({f"beta_{layer}": given["betas"] for layer in LAYERS} if "betas" in given else {}) | params


def _searched_params(rng: np.random.Generator) -> dict[str, Any]:
    params: dict[str, Any] = {f"distil_{layer}": bool(rng.random() < 0.5) for layer in LAYERS}
    for layer in LAYERS:
        if params[f"distil_{layer}"]:
            params[f"beta_{layer}"] = float(np.exp(rng.uniform(np.log(50), np.log(8000))))
    return params | {
        "epochs": int(rng.integers(4, 21)),
        "clean_fraction": float(rng.choice(FRACTIONS)),
        "recipe": str(rng.choice(["code", "paper"])),
    }


def _scores(params: dict[str, Any], rng: np.random.Generator) -> tuple[float, float]:
    """More distillation and more data erase more; too much distillation costs accuracy."""
    strength = sum(np.log10(params.get(f"beta_{layer}", 1.0)) for layer in LAYERS) / 9
    data = np.log10(100 * params["clean_fraction"])
    asr = 0.95 / (1 + np.exp(6 * (strength + 0.35 * data - 0.62))) + rng.normal(0, 0.05)
    acc = 0.765 + 0.012 * data - 0.5 * max(strength - 0.45, 0) ** 1.6 + rng.normal(0, 0.008)
    return float(np.clip(asr, 0.004, 0.98).round(4)), float(np.clip(acc, 0.1, 0.95).round(4))


def _trial(
    number: int, params: dict[str, Any], scores: tuple[float, float] | None, control: str = ""
) -> dict[str, Any]:
    asr, acc = scores or ("", "")
    seconds = 9.4 + 1.3 * params["epochs"]
    return {
        "number": number,
        "state": "COMPLETE" if scores else "FAIL",
        "control": control,
        "asr": asr,
        "acc": acc,
        "acc_non_target": "" if acc == "" else round(acc - 0.006, 4),
        "recovery_acc": "" if asr == "" or acc == "" else round(0.85 * acc * (1 - asr), 4),
        "setting": number,
        "draw": 0,
        "seed": 7919 * (number + 1),
        "started": (datetime(2026, 3, 14, 9, 26, 5, tzinfo=UTC) + timedelta(seconds=14 * number)).isoformat(),
        "seconds": seconds,
        "compute_seconds": seconds - 0.21,
        "host": "worker-1" if number % 2 else "worker-2",
        "error": "" if scores else ERROR,
        "traceback": "" if scores else TRACEBACK,
        "curve": "" if asr == "" else json.dumps([[0.9, 0.7], [asr, acc]]),
    } | {f"params_{name}": value for name, value in params.items()}


def _trials(count: int, failing: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = [_trial(i, _control_params(given), (asr, acc), name) for i, (name, given, asr, acc) in enumerate(CONTROLS)]
    for number in range(len(rows), count):
        params = _searched_params(rng)
        fails = number in range(count - 9, count - 9 + failing)
        rows.append(_trial(number, params, None if fails else _scores(params, rng)))
    return rows


def _point(row: dict[str, Any]) -> dict[str, Any]:
    params = {name.removeprefix("params_"): value for name, value in row.items() if name.startswith("params_")}
    validation = {"acc": row["acc"], "asr": row["asr"]}
    return {"number": row["number"], "params": params, "validation": validation, "test": None, "twin": None}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    complete = [row for row in rows if row["state"] == "COMPLETE"]
    kept = [row for row in complete if row["acc"] >= VICTIM["acc"] - 0.03]
    best = min(kept, key=lambda row: row["asr"], default=None)
    no_defence = {
        "name": "no-defence",
        "number": None,
        "params": {},
        "validation": dict(VICTIM),
        "test": None,
        "twin": None,
    }
    why = f"Lowest ASR of the {len(kept)} complete trials that lose at most 3 points of clean accuracy."
    return {
        "study": "refool-fashion-c",
        "attack": "refool",
        "dataset": "fashion-c",
        "model": "wrn-16-1",
        "seed": 0,
        "command": "python -m study.run --attack refool --dataset fashion-c --trials 22 --seed 0 --max-acc-drop 0.03",
        "versions": {"python": "3.11.7", "torch": "2.14.1", "ray": "2.60.0", "optuna": "5.0.0", "nad-study": "0.1.0"},
        "victim": dict(VICTIM),
        "trials": {"complete": len(complete), "failed": len(rows) - len(complete), "pruned": 0, "running": 0},
        "wanted_trials": len(complete),
        "seconds": {"victim": 141.2, "teachers": 38.9, "trials": 312.4, "confirmation": 0.0, "total": 497.8},
        "hypervolume": 0.5,
        "max_acc_drop": 0.03,
        "front": [],
        "controls": [
            no_defence,
            *({"name": row["control"]} | _point(row) for row in complete if row["control"]),
        ],
        "recommended": None if best is None else _point(best) | {"why": why},
        "recommended_why": why if best else "No complete trial loses at most 3 points of clean accuracy.",
        "created": "2026-03-14T09:34:22+00:00",
        "host": "worker-1",
        "git": "4f1c2ab97de0c1f6f1e5b8a0b2a4c3d2e1f00912",
        "attack_settings": {"target": 0, "poison_rate": 0.8, "clean_label": True, "kind": "ghost", "alpha": 0.4},
        "victim_sha256": "9b74c9897bac770ffc029102a200c5de3f1b1d2f6c6a2c3b6e9e8d7c6b5a4f30",
        "counts": {"train": 8000, "validation": 800, "test": 2000, "victim_train": 7200, "poisoned": 576},
    }


def _attack_png() -> bytes:
    rng = np.random.default_rng(3)
    ramp = np.linspace(0, 1, 32)
    tiles = [
        np.clip(np.outer(ramp, np.roll(ramp, 4 * i))[..., None] * rng.uniform(80, 255, 3), 0, 255) for i in range(8)
    ]
    clean = np.concatenate(tiles, axis=1)
    ghost = 90 * (np.sin(np.arange(256) / 3)[None, :, None] > 0.4) * np.ones((32, 1, 3))
    triggered = np.clip(0.7 * clean + ghost, 0, 255)
    rows = np.concatenate([clean, triggered, 128 + (triggered - clean) / 2]).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(rows.repeat(3, axis=0).repeat(3, axis=1)).save(file, "PNG")
    return file.getvalue()


def _write(directory: Path, rows: list[dict[str, Any]], summary: dict[str, Any]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in [_trial(0, {"epochs": 1}, None), *rows] for name in row))
    with (directory / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    (directory / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    config = {"attack": "refool", "dataset": "fashion-c", "seed": 0, "max_acc_drop": 0.03, "workers": 2}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "attack.png").write_bytes(_attack_png())
    return directory


Change = Callable[[list[dict[str, Any]], dict[str, Any]], None]


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Path]:
    """Function writing a study's folder and returning its path; change(rows, summary) edits it first."""

    def make(
        count: int = 24, failing: int = 2, seed: int = 5, change: Change | None = None, name: str = "study"
    ) -> Path:
        rows = _trials(count, failing, seed)
        summary = _summary(rows)
        if change:
            change(rows, summary)
        return _write(tmp_path / name, rows, summary)

    return make


def _confirm(_rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """A change: every named point confirmed with three seeds, distilling ones with twins."""
    for point in [*summary["controls"], summary["recommended"]]:
        asr, acc = point["validation"]["asr"], point["validation"]["acc"]
        near = {"asr_ci": [max(asr - 0.06, 0), min(asr + 0.11, 1)], "acc_ci": [acc - 0.013, acc + 0.004]}
        steps = (-0.02, 0.0, 0.02) if point["params"] else (0.0,)
        runs = [{"draw": draw, "asr": min(max(asr + step, 0), 1), "acc": acc} for draw, step in enumerate(steps, 1)]
        point["test"] = {"asr": asr, "acc": acc, **near, "seeds": len(runs), "diverged": 0, "runs": runs}
        if any(name.startswith("beta_") for name in point["params"]):
            added = {"asr_added": asr - 0.74, "acc_added": acc - 0.76}
            bounds = {"asr_added_ci": [asr - 0.8, asr - 0.68], "acc_added_ci": [acc - 0.77, acc - 0.75]}
            point["twin"] = {"asr": 0.74, "acc": 0.76, **near, "seeds": 3, "diverged": 0, "pairs": 3, **added, **bounds}


def _repeat(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """A change: the controls and the recommended setting have three draws, and the summary has estimates."""
    for point in [*summary["controls"], summary["recommended"]]:
        point["validation"]["draws"] = 3
    repeated = [row for row in rows if row["control"] or row["number"] == summary["recommended"]["number"]]
    for draw, shift in ((1, 0.1), (2, -0.08)):
        for row in repeated:
            asr = round(min(max(row["asr"] + shift, 0), 1), 4)
            rows.append({**row, "number": len(rows), "draw": draw, "asr": asr, "control": ""})


def _noisy(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """A change: repeated settings whose ASR differs widely from draw to draw; two lie beyond the axes, on one draw."""
    first = len(rows)
    _repeat(rows, summary)
    rng = np.random.default_rng(0)
    for row in rows[first:]:
        row["asr"] = round(float(np.clip(row["asr"] + rng.random() - 0.5, 0, 1)), 4)
    for row in rows[10:12]:
        row["acc"] = 0.12


def _prune(rows: list[dict[str, Any]], _summary: dict[str, Any]) -> None:
    """A change: two complete trials, of the front as it was, become pruned ones."""
    for row in rows[5:7]:
        reason = "after 3 of 9 epochs it ranked 8 of 9, and the best 5 go on"
        row.update(state="PRUNED", error=reason, compute_seconds="", curve="[[0.9, 0.5], [0.0, 0.9], [0.4, 0.7]]")
        row.update(dict.fromkeys(("asr", "acc", "acc_non_target", "recovery_acc"), ""))


@pytest.fixture
def prune() -> Change:
    """A change for make_study: trials 5 and 6 pruned."""
    return _prune


@pytest.fixture
def repeat() -> Change:
    """A change for make_study: settings with several draws."""
    return _repeat


@pytest.fixture
def noisy() -> Change:
    """A change for make_study: settings with several draws that differ, others with one and so unreliable."""
    return _noisy


@pytest.fixture
def confirm() -> Change:
    """A change for make_study: points confirmed on the test images."""
    return _confirm

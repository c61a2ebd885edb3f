"""A study's folder as the page takes it: read and checked once, so that nothing later meets a surprise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from reports.files import ReportError, damaged, read_bytes, read_json, require_keys
from reports.trial_table import read_trials

REQUIRED_FILES = ("config.json", "summary.json", "trials.csv")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NO_DEFENCE = "no-defence"

NUMBER = (int, float)
POINT_KEYS: Mapping[str, Any] = {
    "number": (int, type(None)),
    "params": dict,
    "validation": {"asr": NUMBER, "acc": NUMBER},
}
TEST_KEYS: Mapping[str, Any] = {
    "asr": NUMBER,
    "acc": NUMBER,
    "asr_ci": list,
    "acc_ci": list,
    "seeds": int,
}
TWIN_KEYS: Mapping[str, Any] = {
    "asr": NUMBER,
    "acc": NUMBER,
    **dict.fromkeys(("asr_added", "acc_added"), (*NUMBER, type(None))),
    **dict.fromkeys(("asr_added_ci", "acc_added_ci"), (list, type(None))),
}
SUMMARY_KEYS: Mapping[str, Any] = {
    "study": str,
    "attack": str,
    "dataset": str,
    "model": str,
    "seed": int,
    "command": str,
    "versions": dict,
    "victim": {"asr": NUMBER, "acc": NUMBER},
    "wanted_trials": int,
    "seconds": dict,
    "max_acc_drop": NUMBER,
    "controls": list,
    "recommended": (dict, type(None)),
    "recommended_why": str,
    "created": str,
    "host": str,
    "git": (str, type(None)),
    "attack_settings": dict,
    "victim_sha256": str,
    "counts": dict,
}
"""What the page needs of summary.json; docs/summary.md has all of it."""


class Scores(NamedTuple):
    """Fractions, measured on the validation split."""

    asr: float
    acc: float


class Confirmed(NamedTuple):
    """Scores on the test images, over fresh seeds, each with its 95% interval."""

    asr: float
    acc: float
    asr_ci: tuple[float, float]
    acc_ci: tuple[float, float]
    seeds: int


class Twin(NamedTuple):
    """What distillation added to a confirmed point, against the same erase with beta = 0: mean and 95% interval of the
    differences within each seed; the interval is None for one seed."""

    asr: float
    acc: float
    asr_added: float
    acc_added: float
    asr_added_ci: tuple[float, float] | None
    acc_added_ci: tuple[float, float] | None


class Point(NamedTuple):
    """A named result of summary.json; number is None for the victim, which no trial made.

    test, twin: None where the point was not confirmed, or has no twin."""

    name: str
    number: int | None
    params: dict[str, Any]
    scores: Scores
    test: Confirmed | None = None
    twin: Twin | None = None


@dataclass(frozen=True)
class Study:
    """What a study's folder holds.  trials: as `reports.trial_table.read_trials` gives them; picture: a PNG file."""

    trials: pd.DataFrame
    victim: Point
    controls: tuple[Point, ...]
    recommended: Point | None
    summary: dict[str, Any]
    config: dict[str, Any]
    picture: bytes | None

    @property
    def complete(self) -> pd.DataFrame:
        return self.trials[self.trials["state"] == "COMPLETE"]

    @property
    def least_acc(self) -> float:
        """The lowest accuracy that a setting may have and still be recommended."""
        return self.victim.scores.acc - float(self.summary["max_acc_drop"])

    def count(self, state: str) -> int:
        return int((self.trials["state"] == state).sum())


def read_study(directory: Path) -> Study:
    """The study in this folder.

    Raises: ReportError when the folder or a file is missing, cut off, or not what docs/summary.md says; or when the
    study has no trial yet.
    """
    if not directory.is_dir():
        raise ReportError(
            f"there is no folder {str(directory)!r}; give a study's folder, such as runs/refool-fashion-m"
        )
    for name in REQUIRED_FILES:
        if not (directory / name).is_file():
            raise ReportError(f"{str(directory)!r} is not the folder of a study: it has no {name}")
    trials = read_trials(directory / "trials.csv")
    summary = _read_summary(directory / "summary.json")
    points = [_point(control["name"], control) for control in summary["controls"]]
    return Study(
        trials=trials,
        victim=next(
            (point for point in points if point.name == NO_DEFENCE),
            _point(NO_DEFENCE, {"number": None, "params": {}, "validation": summary["victim"]}),
        ),
        controls=tuple(point for point in points if point.name != NO_DEFENCE),
        recommended=_point("recommended", summary["recommended"]) if summary["recommended"] is not None else None,
        summary=summary,
        config=read_json(directory / "config.json"),
        picture=_read_picture(directory / "attack.png"),
    )


def _read_summary(path: Path) -> dict[str, Any]:
    summary = read_json(path)
    require_keys(path, summary, SUMMARY_KEYS)
    require_keys(path, summary["seconds"], dict.fromkeys(summary["seconds"], (*NUMBER, type(None))), "seconds.")
    scores = {"victim": summary["victim"]}
    for index, control in enumerate(summary["controls"]):
        require_keys(path, control, {"name": str, **POINT_KEYS}, f"controls[{index}].")
        _require_confirmation(path, control, f"controls[{index}]")
        scores[f"controls[{index}].validation"] = control["validation"]
    if summary["recommended"] is not None:
        require_keys(path, summary["recommended"], {**POINT_KEYS, "number": int}, "recommended.")
        _require_confirmation(path, summary["recommended"], "recommended")
        scores["recommended.validation"] = summary["recommended"]["validation"]
    for where, pair in scores.items():
        if not all(0 <= pair[name] <= 1 for name in Scores._fields):
            raise damaged(path, f"has a score at {where!r} that is not a fraction")
    return summary


def _require_confirmation(path: Path, point: Mapping[str, Any], where: str) -> None:
    """A point's test scores and twin, where it has them, are whole."""
    for name, keys in (("test", TEST_KEYS), ("twin", TWIN_KEYS)):
        if point.get(name) is not None:
            require_keys(path, {name: point[name]}, {name: keys}, f"{where}.")


def _point(name: str, content: Mapping[str, Any]) -> Point:
    scores = Scores(float(content["validation"]["asr"]), float(content["validation"]["acc"]))
    test, twin = content.get("test"), content.get("twin")
    return Point(
        name,
        content["number"],
        content["params"],
        scores,
        Confirmed(**{key: _plain(test[key]) for key in Confirmed._fields}) if test else None,
        Twin(**{key: _plain(twin[key]) for key in Twin._fields}) if twin and twin["asr_added"] is not None else None,
    )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read_picture(path: Path) -> bytes | None:
    """The attack's picture, if the study drew one."""
    if not path.is_file():
        return None
    picture = read_bytes(path)
    if not picture.startswith(PNG_SIGNATURE) or len(picture) < 24:
        raise damaged(path, "is not a PNG picture")
    return picture

"""A study's folder as the page takes it: read and checked once, so that nothing later meets a surprise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from reports.analysis.frontier import Bound
from reports.files import ReportError, damaged, read_bytes, read_json, require_keys
from reports.trial_table import read_trials

REQUIRED_FILES = ("config.json", "summary.json", "trials.csv")
PICTURE_FILE = "attack.png"
ATTENTION_FILE = "attention.png"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NO_DEFENCE = "no-defence"

NUMBER = (int, float)
POINT_KEYS: Mapping[str, Any] = {
    "number": (int, type(None)),
    "params": dict,
    "validation": {"asr": NUMBER, "acc": NUMBER},
}
MAYBE_NUMBER = (*NUMBER, type(None))
MAYBE_INTERVAL = (list, type(None))
TEST_KEYS: Mapping[str, Any] = {
    "asr": MAYBE_NUMBER,
    "acc": MAYBE_NUMBER,
    "asr_ci": MAYBE_INTERVAL,
    "acc_ci": MAYBE_INTERVAL,
    "seeds": int,
    "diverged": int,
}
TWIN_KEYS: Mapping[str, Any] = {
    **TEST_KEYS,
    "pairs": int,
    "asr_added": MAYBE_NUMBER,
    "acc_added": MAYBE_NUMBER,
    "asr_added_ci": MAYBE_INTERVAL,
    "acc_added_ci": MAYBE_INTERVAL,
}
RUN_KEYS: Mapping[str, Any] = {"draw": int, "asr": NUMBER, "acc": NUMBER}
CLEAN_MODEL_KEYS: Mapping[str, Any] = {
    "before": TEST_KEYS,
    "after": TEST_KEYS,
    "acc_change": MAYBE_NUMBER,
    "acc_change_ci": MAYBE_INTERVAL,
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
    "front": list,
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
NEWER_SUMMARY_KEYS: Mapping[str, Any] = {
    "stopped": (str, type(None)),
    "energy_kwh": (*NUMBER, type(None)),
    "victim_file": (dict, type(None)),
    "victim_threads": (dict, type(None)),
    "lost_baselines": (list, type(None)),
    "baselines": (dict, type(None)),
    "confirmation": (dict, type(None)),
    "guess": (dict, type(None)),
}
"""What studies of earlier versions lack; null stands for it there."""


class Scores(NamedTuple):
    """Fractions, measured on the validation split."""

    asr: float
    acc: float
    balanced_acc: float | None = None
    """None in studies before it was measured."""


def trial_scores(row: Mapping[Any, Any]) -> Scores:
    """Of one row of the trial table."""
    balanced_acc = row["balanced_acc"]
    return Scores(row["asr"], row["acc"], None if math.isnan(balanced_acc) else balanced_acc)


class FreshRun(NamedTuple):
    """What one fresh seed gave on the test images; the points of a study share the draws of clean images."""

    draw: int
    asr: float
    acc: float


class FreshScores(NamedTuple):
    """Scores on the test images: means over the fresh seeds that finished, each with its 95% interval.

    asr_ci, acc_ci: None for a single seed; of the victim, which no seed moves any more, over the images.  runs: those
    seeds one by one; none in a study that was confirmed before they were kept."""

    asr: float
    acc: float
    asr_ci: tuple[float, float] | None
    acc_ci: tuple[float, float] | None
    seeds: int
    diverged: int
    runs: tuple[FreshRun, ...] = ()
    balanced_acc: float | None = None


class Twin(NamedTuple):
    """The same erases with beta = 0, and what distillation added: the mean differences within pairs of runs, with
    their 95% intervals; None where the pairs are too few."""

    asr: float
    acc: float
    pairs: int
    asr_added: float
    acc_added: float
    asr_added_ci: tuple[float, float] | None
    acc_added_ci: tuple[float, float] | None


class CleanModel(NamedTuple):
    """What the erase costs a model without a backdoor: its test accuracies, and their mean change with its 95%
    interval, None where the runs are too few.  asr: of the model before the erase, which no backdoor explains.
    erased_asr: after it, of each run."""

    asr: float
    erased_asr: tuple[float, ...]
    before: float
    after: float
    seeds: int
    acc_change: float
    acc_change_ci: tuple[float, float] | None


class Point(NamedTuple):
    """A named result of summary.json; number is None for the victim and for baselines, which no trial made.

    test, twin, clean_model: None where the point was not confirmed or all of its runs diverged, where it has no twin,
    and where it was not run on a clean model."""

    name: str
    number: int | None
    params: dict[str, Any]
    scores: Scores
    test: FreshScores | None = None
    twin: Twin | None = None
    clean_model: CleanModel | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """What a study's folder holds.  trials: as `reports.trial_table.read_trials` gives them; front: the points of the
    front as the summary has them; picture, attention: PNG files."""

    trials: pd.DataFrame
    victim: Point
    controls: tuple[Point, ...]
    front: tuple[Point, ...]
    recommended: Point | None
    summary: dict[str, Any]
    config: dict[str, Any]
    picture: bytes | None
    attention: bytes | None

    @property
    def name(self) -> str:
        return str(self.summary["study"])

    @property
    def stopped(self) -> str | None:
        """One sentence about a search that stopped by itself before it had all wanted trials."""
        why: str | None = self.summary["stopped"]
        return why

    @property
    def baselines(self) -> tuple[Point, ...]:
        """The controls that are other defences than NAD and fine-tuning."""
        return tuple(point for point in self.controls if point.number is None)

    @property
    def confirmed(self) -> dict[int, Point]:
        """The trials that have test scores, by number."""
        points = (*self.front, *self.controls, *([self.recommended] if self.recommended else []))
        return {point.number: point for point in points if point.test and point.number is not None}

    @property
    def complete(self) -> pd.DataFrame:
        return self.trials[self.trials["state"] == "COMPLETE"]

    @property
    def least_acc(self) -> float:
        """The lowest accuracy that a setting may have and still be recommended."""
        return self.victim.scores.acc - float(self.summary["max_acc_drop"])

    @property
    def bound(self) -> Bound:
        """What a setting has to keep of the victim's skill."""
        balanced_acc, guess = self.victim.scores.balanced_acc, self.summary["guess"]
        return Bound(
            float(self.summary["max_acc_drop"]),
            self.victim.scores.acc,
            math.nan if balanced_acc is None else balanced_acc,
            guess["balanced_acc"] if guess else 0.0,
        )

    @cached_property
    def kept(self) -> frozenset[int]:
        """Numbers of the complete trials that keep enough accuracy."""
        kept = self.bound.kept(self.complete["acc"].to_numpy(), self.complete["balanced_acc"].to_numpy())
        return frozenset(self.complete["number"][kept])

    @property
    def unbalanced(self) -> bool:
        """Whether one answer for every image is so often right that accuracy alone says little."""
        guess = self.summary["guess"]
        return guess is not None and guess["acc"] > guess["balanced_acc"]

    def count(self, state: str) -> int:
        return int((self.trials["state"] == state).sum())

    @property
    def done(self) -> int:
        """Trials that count towards the wanted number: a pruned one was looked at, and not worth finishing."""
        return self.count("COMPLETE") + self.count("PRUNED")


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
        front=tuple(_point(f"trial {point['number']}", point) for point in summary["front"]),
        recommended=_point("recommended", summary["recommended"]) if summary["recommended"] is not None else None,
        summary=summary,
        config=read_json(directory / "config.json"),
        picture=_read_picture(directory / PICTURE_FILE),
        attention=_read_picture(directory / ATTENTION_FILE),
    )


def _read_summary(path: Path) -> dict[str, Any]:
    summary = {**dict.fromkeys(NEWER_SUMMARY_KEYS), **read_json(path)}
    require_keys(path, summary, {**SUMMARY_KEYS, **NEWER_SUMMARY_KEYS})
    require_keys(path, summary["seconds"], dict.fromkeys(summary["seconds"], (*NUMBER, type(None))), "seconds.")
    for part in ("baselines", "confirmation"):
        if summary[part] is not None:
            require_keys(path, summary[part], {"runs": int, "done": int}, f"{part}.")
    scores = {"victim": summary["victim"]}
    for index, point in enumerate(summary["front"]):
        require_keys(path, point, {**POINT_KEYS, "number": int}, f"front[{index}].")
        _require_confirmation(path, point, f"front[{index}]")
        scores[f"front[{index}].validation"] = point["validation"]
    for index, control in enumerate(summary["controls"]):
        require_keys(path, control, {"name": str, **POINT_KEYS}, f"controls[{index}].")
        _require_confirmation(path, control, f"controls[{index}]")
        scores[f"controls[{index}].validation"] = control["validation"]
    for index, lost in enumerate(summary["lost_baselines"] or ()):
        keys = {"name": str, "clean_fraction": NUMBER, "error": str}
        require_keys(path, lost, keys, f"lost_baselines[{index}].")
    if summary["recommended"] is not None:
        require_keys(path, summary["recommended"], {**POINT_KEYS, "number": int}, "recommended.")
        _require_confirmation(path, summary["recommended"], "recommended")
        _require_clean_model(path, summary["recommended"].get("clean_model"), "recommended.clean_model")
        scores["recommended.validation"] = summary["recommended"]["validation"]
    if summary["guess"] is not None:
        require_keys(path, summary["guess"], {"acc": NUMBER, "balanced_acc": NUMBER}, "guess.")
        scores["guess"] = {**summary["guess"], "asr": 0.0}
    for where, pair in scores.items():
        shares = [pair["asr"], pair["acc"], *([] if pair.get("balanced_acc") is None else [pair["balanced_acc"]])]
        if not all(_is_within(share, 0) for share in shares):
            raise damaged(path, f"has a score at {where!r} that is not a fraction")
    return summary


def _require_confirmation(path: Path, point: Mapping[str, Any], where: str) -> None:
    """A point's test scores and twin, where it has them, are whole, and what they hold is in its range."""
    for name, keys in (("test", TEST_KEYS), ("twin", TWIN_KEYS)):
        content = point.get(name)
        if content is None:
            continue
        require_keys(path, content, keys, f"{where}.{name}.")
        _require_scores(path, content, f"{where}.{name}")
        _require_runs(path, content, f"{where}.{name}")


def _require_runs(path: Path, content: Mapping[str, Any], where: str) -> None:
    """The single runs behind the means, where a summary has them."""
    runs = content.get("runs", [])
    if not isinstance(runs, list):
        raise damaged(path, f"has no list at {f'{where}.runs'!r}")
    for index, run in enumerate(runs):
        require_keys(path, run, RUN_KEYS, f"{where}.runs[{index}].")
        if not (_is_within(run["asr"], 0) and _is_within(run["acc"], 0)):
            raise damaged(path, f"has a score at {f'{where}.runs[{index}]'!r} that is not a fraction")


def _require_clean_model(path: Path, content: Any, where: str) -> None:
    """The same of what the erase costs a clean model, where the study has that."""
    if content is not None:
        require_keys(path, content, CLEAN_MODEL_KEYS, f"{where}.")
        for name, scores in {"before": content["before"], "after": content["after"]}.items():
            _require_scores(path, scores, f"{where}.{name}")
            _require_runs(path, scores, f"{where}.{name}")
        _require_scores(path, {name: content[name] for name in ("acc_change", "acc_change_ci")}, where)


def _require_scores(path: Path, content: Mapping[str, Any], where: str) -> None:
    for key, value in content.items():
        low = -1 if "_added" in key or "_change" in key else 0
        for number in value if isinstance(value, list) else [value]:
            if key.startswith(("asr", "acc", "balanced_acc")) and number is not None and not _is_within(number, low):
                raise damaged(path, f"has {number!r:.60} at {f'{where}.{key}'!r}")
        if key.endswith("_ci") and value is not None and len(value) != 2:
            raise damaged(path, f"has no two bounds at {f'{where}.{key}'!r}")


def _is_within(number: Any, low: float) -> bool:
    return isinstance(number, NUMBER) and low <= number <= 1


def _point(name: str, content: Mapping[str, Any]) -> Point:
    validation = content["validation"]
    scores = Scores(float(validation["asr"]), float(validation["acc"]), validation.get("balanced_acc"))
    test, twin = content.get("test"), content.get("twin")
    return Point(
        name,
        content["number"],
        content["params"],
        scores,
        _fresh_scores(test, one_model=name == NO_DEFENCE) if test and test["seeds"] else None,
        Twin(**_fields(Twin, twin)) if twin and twin["pairs"] else None,
        _clean_model(content.get("clean_model")),
    )


def _clean_model(content: Mapping[str, Any] | None) -> CleanModel | None:
    if content is None or not content["after"]["seeds"]:
        return None
    bounds, after = content["acc_change_ci"], content["after"]
    change = content["acc_change"]
    interval = (bounds[0], bounds[1]) if bounds else None
    return CleanModel(
        content["before"]["asr"],
        tuple(run["asr"] for run in after.get("runs", [])),
        content["before"]["acc"],
        after["acc"],
        after["seeds"],
        change,
        interval,
    )


def _fresh_scores(test: Mapping[str, Any], *, one_model: bool) -> FreshScores:
    """one_model: of the victim. Earlier versions gave an interval to a single seed, too."""
    runs = tuple(FreshRun(run["draw"], run["asr"], run["acc"]) for run in test.get("runs", []))
    scores = FreshScores(**_fields(FreshScores, {"balanced_acc": None, **test, "runs": ()}))._replace(runs=runs)
    return scores if one_model or scores.seeds > 1 else scores._replace(asr_ci=None, acc_ci=None)


def _fields(kind: Any, content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(content[name]) if isinstance(content[name], list) else content[name] for name in kind._fields}


def _read_picture(path: Path) -> bytes | None:
    """A picture that the study drew, if it did."""
    if not path.is_file():
        return None
    picture = read_bytes(path)
    if not picture.startswith(PNG_SIGNATURE) or len(picture) < 24:
        raise damaged(path, "is not a PNG picture")
    return picture

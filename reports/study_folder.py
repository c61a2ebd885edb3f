"""A study's folder for the reports, read and checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from reports import summary_schema as schema
from reports.analysis.frontier import Bound
from reports.files import ReportError, damaged, read_bytes, read_json
from reports.trial_table import read_trials, settings_of

REQUIRED_FILES = ("config.json", "summary.json", "trials.csv")
PICTURE_FILE = "attack.png"
ATTENTION_FILE = "attention.png"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NO_DEFENCE = "no-defence"


class Scores(NamedTuple):
    """Scores of one model, as fractions."""

    asr: float
    acc: float
    balanced_acc: float | None = None
    """None in studies before it was measured."""


def trial_scores(row: Mapping[Any, Any]) -> Scores:
    """Of one row of the trial table."""
    balanced_acc = row["balanced_acc"]
    return Scores(row["asr"], row["acc"], None if math.isnan(balanced_acc) else balanced_acc)


class FreshRun(NamedTuple):
    """Test scores with one fresh seed; the points of a study share the draws of clean images."""

    draw: int
    asr: float
    acc: float


class FreshScores(NamedTuple):
    """Test scores: means over the finished fresh seeds, each with its 95% interval.

    asr_ci, acc_ci: None for a single seed; over the images for the victim, whose score has no seed.  runs: the single
    seeds; empty in studies of earlier versions.
    """

    asr: float
    acc: float
    asr_ci: tuple[float, float] | None
    acc_ci: tuple[float, float] | None
    seeds: int
    diverged: int
    runs: tuple[FreshRun, ...] = ()
    balanced_acc: float | None = None


class Twin(NamedTuple):
    """The same erases with beta = 0, with paired differences and their 95% intervals.

    Intervals are None for too few pairs.
    """

    asr: float
    acc: float
    pairs: int
    asr_added: float
    acc_added: float
    asr_added_ci: tuple[float, float] | None
    acc_added_ci: tuple[float, float] | None


class CleanModel(NamedTuple):
    """Cost of the erase to a model without a backdoor: test accuracies, and their mean change with its 95% interval.

    acc_change_ci: None for too few runs.  asr: before the erase, with no backdoor to explain it.  erased_asr: after it,
    of each run.
    """

    asr: float
    erased_asr: tuple[float, ...]
    before: float
    after: float
    seeds: int
    acc_change: float
    acc_change_ci: tuple[float, float] | None


class Point(NamedTuple):
    """A named result of summary.json.

    number: None for the victim and for baselines.  test: None if not confirmed, or if all runs diverged.  twin,
    clean_model: None if not run.
    """

    name: str
    number: int | None
    params: dict[str, Any]
    scores: Scores
    test: FreshScores | None = None
    twin: Twin | None = None
    clean_model: CleanModel | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """Content of a study's folder.

    trials: from `reports.trial_table.read_trials`; picture, attention: PNG files.
    """

    trials: pd.DataFrame
    victim: Point
    controls: tuple[Point, ...]
    front: tuple[Point, ...]
    recommended: Point | None
    summary: schema.Summary
    config: dict[str, Any]
    picture: bytes | None
    attention: bytes | None

    @property
    def name(self) -> str:
        return self.summary.study

    @property
    def stopped(self) -> str | None:
        """One sentence if the search stopped by itself before its wanted trials."""
        return self.summary.stopped

    @property
    def baselines(self) -> tuple[Point, ...]:
        """Controls by other defences than NAD and fine-tuning."""
        return tuple(point for point in self.controls if point.number is None)

    @property
    def confirmed(self) -> dict[int, Point]:
        """Trials with test scores, by number."""
        points = (*self.front, *self.controls, *([self.recommended] if self.recommended else []))
        return {point.number: point for point in points if point.test and point.number is not None}

    @property
    def complete(self) -> pd.DataFrame:
        return self.trials[self.trials["state"] == "COMPLETE"]

    @property
    def estimated(self) -> bool:
        """False for a study of an earlier version: one run for each setting."""
        front = any(point.validation.draws is not None for point in self.summary.front)
        return front or any(control.validation.draws is not None for control in self.summary.controls)

    @cached_property
    def settings(self) -> pd.DataFrame:
        """The settings with a complete trial, and their estimates; see `settings_of`."""
        return settings_of(self.complete, estimated=self.estimated)

    @property
    def reliable(self) -> pd.DataFrame:
        """The settings with draws enough for the front."""
        return self.settings[self.settings["reliable"]].reset_index(drop=True)

    @property
    def least_acc(self) -> float:
        """Lowest accuracy of a recommended setting."""
        return self.victim.scores.acc - self.summary.max_acc_drop

    @property
    def bound(self) -> Bound:
        """Least accuracy and balanced accuracy of a recommended setting."""
        balanced_acc, guess = self.victim.scores.balanced_acc, self.summary.guess
        return Bound(
            self.summary.max_acc_drop,
            self.victim.scores.acc,
            math.nan if balanced_acc is None else balanced_acc,
            guess.balanced_acc if guess else 0.0,
        )

    @cached_property
    def kept(self) -> frozenset[int]:
        """Numbers of the settings inside the bound."""
        kept = self.bound.kept(self.settings["acc"].to_numpy(), self.settings["balanced_acc"].to_numpy())
        return frozenset(self.settings["number"][kept])

    @property
    def unbalanced(self) -> bool:
        """True if guessing one class is often right, so accuracy alone says little."""
        guess = self.summary.guess
        return guess is not None and guess.acc > guess.balanced_acc

    def count(self, state: str) -> int:
        return int((self.trials["state"] == state).sum())

    @property
    def done(self) -> int:
        """Trials towards the wanted number: complete and pruned ones."""
        return self.count("COMPLETE") + self.count("PRUNED")


def read_study(directory: Path) -> Study:
    """Read the study in this folder.

    Raises: ReportError for a folder or file missing, cut off, or unlike docs/summary.md; NotBegunError without a trial.
    """
    if not directory.is_dir():
        raise ReportError(
            f"there is no folder {str(directory)!r}; give a study's folder, such as runs/refool-fashion-c"
        )
    for name in REQUIRED_FILES:
        if not (directory / name).is_file():
            raise ReportError(f"{str(directory)!r} is not the folder of a study: it has no {name}")
    trials = read_trials(directory / "trials.csv")
    summary = schema.read_summary(directory / "summary.json", schema.Summary)
    points = [_point(control.name, control) for control in summary.controls]
    return Study(
        trials=trials,
        victim=next(
            (point for point in points if point.name == NO_DEFENCE),
            _point(NO_DEFENCE, schema.Control(name=NO_DEFENCE, number=None, params={}, validation=summary.victim)),
        ),
        controls=tuple(point for point in points if point.name != NO_DEFENCE),
        front=tuple(_point(f"trial {point.number}", point) for point in summary.front),
        recommended=_point("recommended", summary.recommended) if summary.recommended is not None else None,
        summary=summary,
        config=read_json(directory / "config.json"),
        picture=_read_picture(directory / PICTURE_FILE),
        attention=_read_picture(directory / ATTENTION_FILE),
    )


def _point(name: str, found: schema.Control | schema.TrialPoint) -> Point:
    twin = found.twin
    return Point(
        name,
        found.number,
        found.params,
        Scores(found.validation.asr, found.validation.acc, found.validation.balanced_acc),
        _fresh_scores(found.test, one_model=name == NO_DEFENCE),
        Twin(*(getattr(twin, field) for field in Twin._fields)) if twin and twin.pairs else None,
        _clean_model(found.clean_model) if isinstance(found, schema.Recommended) else None,
    )


def _clean_model(found: schema.CleanModel | None) -> CleanModel | None:
    if found is None or found.acc_change is None:
        return None
    before, after = _fresh_scores(found.before, one_model=True), _fresh_scores(found.after, one_model=False)
    if before is None or after is None:
        return None
    erased = tuple(run.asr for run in after.runs)
    return CleanModel(before.asr, erased, before.acc, after.acc, after.seeds, found.acc_change, found.acc_change_ci)


def _fresh_scores(test: schema.FreshTest | None, *, one_model: bool) -> FreshScores | None:
    """None unless a run finished.  one_model: no interval over seeds; earlier versions gave single seeds one, too."""
    if test is None or test.asr is None or test.acc is None:
        return None
    runs = tuple(FreshRun(run.draw, run.asr, run.acc) for run in test.runs)
    asr_ci, acc_ci = (test.asr_ci, test.acc_ci) if one_model or test.seeds > 1 else (None, None)
    return FreshScores(test.asr, test.acc, asr_ci, acc_ci, test.seeds, test.diverged, runs, test.balanced_acc)


def _read_picture(path: Path) -> bytes | None:
    """The study's picture, if it drew one."""
    if not path.is_file():
        return None
    picture = read_bytes(path)
    if not picture.startswith(PNG_SIGNATURE) or len(picture) < 24:
        raise damaged(path, "is not a PNG picture")
    return picture

"""Read-only view of a study's folder; tolerates damaged files.

Fast: imports neither torch nor Ray, and Optuna only if the files are behind the record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nad.errors import ConfigError, NadError, unknown_name
from study.options.paths import expanded
from study.record.driver import Driver, driver_of
from study.record.folder import StudyFolder

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "complete", "FAIL": "failed", "PRUNED": "pruned", "RUNNING": "running"}
"""Optuna's names of trial states, and those in summary.json."""

RUNNING, ELSEWHERE = "running", "running elsewhere"
"""A driver is alive on this host; or one on another host has not left, and is out of sight."""
FINISHED, UNFINISHED, UNREADABLE = "finished", "unfinished", "unreadable"
"""Without a driver: all done; work left; no readable settings."""


@dataclass(frozen=True)
class Overview:
    """One study, from its readable files."""

    folder: StudyFolder
    settings: Mapping[str, Any]
    """From config.json: the options of the last run."""
    summary: Mapping[str, Any]
    """summary.json, as of when the last trial ended."""
    driver: Driver | None
    trials: Mapping[str, int]
    """By state: `complete`, `failed`, `pruned`, `running`; empty if unknown."""
    record: Sequence[FrozenTrial] | None
    """Optuna's trials, waiting ones included; None if not needed or not readable."""
    troubles: tuple[str, ...]
    """Sentences about unreadable files."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def attack(self) -> str | None:
        return self._fact("attack")

    @property
    def dataset(self) -> str | None:
        return self._fact("dataset")

    @property
    def runs(self) -> bool:
        """True if a driver works on it, or may do so out of sight."""
        return self.driver is not None and self.driver.alive is not False

    @property
    def wanted(self) -> int | None:
        """Trials asked for."""
        wanted = self.settings.get("trials", self.summary.get("wanted_trials"))
        return wanted if isinstance(wanted, int) else None

    @property
    def done(self) -> int:
        """Trials counting towards the wanted number."""
        return self.trials.get("complete", 0) + self.trials.get("pruned", 0)

    @property
    def state(self) -> str:
        """RUNNING, ELSEWHERE, FINISHED, UNFINISHED or UNREADABLE."""
        if self.driver is not None and self.runs:
            return RUNNING if self.driver.alive else ELSEWHERE
        if not self.settings and not self.summary:
            return UNREADABLE
        return UNFINISHED if self.left else FINISHED

    @property
    def left(self) -> str:
        """Remaining work, such as `4 trials`; empty if all is done."""
        if self.wanted is None or not self.trials:
            return "everything"
        missing = self.wanted - self.done
        if missing > 0 and not self.summary.get("stopped"):
            return f"{missing} trial{'s' if missing > 1 else ''}"
        for part in ("baselines", "confirmation"):
            runs = _part(self.summary, part)
            if left := runs.get("runs", 0) - runs.get("done", 0):
                return f"{left} run{'s' if left > 1 else ''} of the {part}"
        return self._asked_since or ("" if self.folder.report.exists() else "the report")

    @property
    def _asked_since(self) -> str:
        """Work in the settings but not in an older summary."""
        draws, baselines = self.settings.get("confirm"), self.settings.get("baselines")
        if baselines and "baselines" in self.summary and not _part(self.summary, "baselines"):
            return "the baselines"
        done = _part(self.summary, "confirmation").get("draws", 0)
        if isinstance(draws, int) and "confirmation" in self.summary and draws > done:
            return "the confirmation"
        return ""

    @property
    def recommended(self) -> Mapping[str, Any] | None:
        """The recommended point, if any: see docs/summary.md."""
        return _part(self.summary, "recommended") or None

    @property
    def best(self) -> Mapping[str, float] | None:
        """Validation `asr` and `acc` of the recommended trial, else of the front's first."""
        point = self.recommended or next(iter(self.front), {})
        return _part(point, "validation") or None

    @property
    def front(self) -> list[Mapping[str, Any]]:
        """The points of the front, by rising ASR; see docs/summary.md."""
        return _points(self.summary, "front")

    @property
    def controls(self) -> list[Mapping[str, Any]]:
        """Likewise, each with its `name`."""
        return _points(self.summary, "controls")

    def _fact(self, name: str) -> str | None:
        value = self.settings.get(name, self.summary.get(name))
        return None if value is None else str(value)

    @property
    def changed(self) -> datetime | None:
        """Time of the last write to one of its files."""
        folder = self.folder
        newest = max(
            map(_changed, (folder.summary, folder.config, folder.database, folder.database_log, folder.report))
        )
        return datetime.fromtimestamp(newest, UTC) if newest else None


def find(name: str, output: Path) -> StudyFolder:
    """The folder of a study.  name: within the output folder, or the folder's path.

    Raises: ConfigError for an unknown one, with the nearest known name.
    """
    for path in (expanded(output, "--output") / name, expanded(Path(name), "NAME")):
        try:
            if _is_study(path):
                return StudyFolder(path.resolve())
        except OSError as error:
            raise ConfigError(f"cannot read the study {name!r} in {path}: {error.strerror}") from error
    known = [folder.name for folder in studies(output)]
    if not known:
        raise ConfigError(f"there is no study {name!r}, nor any other, in {output}; name their folder with --output")
    raise unknown_name(f"study in {output}", name, known)


def studies(output: Path) -> list[StudyFolder]:
    """All readable studies of a folder, by name.

    Raises: ConfigError for a missing or unreadable folder.
    """
    try:
        paths = sorted(expanded(output, "--output").iterdir())
    except OSError as error:
        raise ConfigError(
            f"cannot read the folder {output}: {error.strerror}; name the folder of your studies with --output"
        ) from error
    found = []
    for path in paths:
        with suppress(OSError):
            if _is_study(path):
                found.append(StudyFolder(path.resolve()))
    return found


def _is_study(path: Path) -> bool:
    """True if a folder holds a study, or remains of one.  Raises: OSError if unreadable."""
    folder = StudyFolder(path)
    return any(file.exists() for file in (folder.config, folder.database, folder.summary))


def read_overview(folder: StudyFolder, *, live: bool = False) -> Overview:
    """Read a study's files; its record if live, or if they lag behind."""
    config, troubles = _read(folder.config)
    settings = _part(config, "settings")
    summary, unread = _read(folder.summary) if folder.summary.exists() else ({}, ())
    counts, record = _part(summary, "trials"), None
    driver = driver_of(folder.path)
    if live or not counts or folder.database_log.exists() or (driver is not None and driver.alive):
        try:
            from study.commands.record_reading import read_trials  # not above: Optuna takes longer than all of this

            record = read_trials(folder, config)
            counts = _counts(record)
        except NadError as error:
            unread += (str(error),)
    return Overview(folder, settings, summary, driver, counts, record, (*troubles, *unread))


def _counts(record: Sequence[FrozenTrial]) -> dict[str, int]:
    names = [STATES.get(trial.state.name) for trial in record]
    return {state: names.count(state) for state in STATES.values()}


def _points(summary: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    points = summary.get(name)
    return [point for point in points if isinstance(point, Mapping)] if isinstance(points, list) else []


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside another, or an empty one."""
    part = content.get(name)
    return part if isinstance(part, Mapping) else {}


def _read(path: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """A JSON object; else an empty one and the reason."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, (f"{path.name} is missing",)
    except OSError as error:
        return {}, (f"{path.name} cannot be read: {error.strerror}",)
    except ValueError:
        return {}, (f"{path.name} is damaged",)
    return (content, ()) if isinstance(content, dict) else ({}, (f"{path.name} holds something else",))


def _changed(path: Path) -> float:
    """Seconds since 1970; 0 for a missing file."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0

"""A study's folder: its file names, its lock, its single driver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from nad.errors import ConfigError, NadError
from study.options.paths import NO_HOME, expanded
from study.record import driver
from study.record.driver import Driver, driver_of
from study.record.file_systems import is_local
from study.record.writing import write_json

MIN_FREE_BYTES = 50 * 2**20
"""Free space required at the start of a study; a report takes 5 MB."""


def cache_folder(chosen: Path | None) -> Path:
    """Folder of victims, teachers and decoded images: the chosen one, else this user's cache.

    Raises: ConfigError without a home folder for it.
    """
    if chosen is not None:
        return expanded(chosen, "--cache").resolve()
    own = platformdirs.user_cache_path("nad-study")
    if own.is_relative_to(NO_HOME):
        raise ConfigError("this user has no home folder for the cache; name a folder with --cache")
    return own.resolve()


class _File:
    """A path inside the study's folder."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, folder: StudyFolder, _kind: type) -> Path:
        return folder.path.joinpath(*self._parts)


@dataclass(frozen=True)
class StudyFolder:
    """A study's files."""

    path: Path
    left_by: Driver | None = None
    """The last driver, if it did not leave in order: it was killed, its host went down, or it runs on another host
    beyond the lock's reach."""

    database = _File("study.db")
    database_log = _File("study.db-wal")
    """SQLite's write-ahead log: present while somebody writes, and after a kill."""
    config = _File("config.json")
    summary = _File("summary.json")
    report = _File("report.html")
    trials = _File("trials.csv")
    parquet = _File("trials.parquet")
    settings = _File("settings.csv")
    """The same table as `trials`."""
    picture = _File("attack.png")
    """The attack's picture of itself."""
    attention = _File("attention.png")
    """Attention maps of victim, teacher and erased model."""
    driver_log = _File("driver.log")
    """Messages of all runs, with times."""
    logs = _File("logs")
    """One file per trial."""
    tensorboard = _File("tensorboard")
    """One run per trial, for TensorBoard."""
    model = _File("models", "recommended.safetensors")
    """The recommended setting's erased model."""
    model_card = _File("models", "recommended.md")

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def storage_url(self) -> str:
        """The URL of `database`."""
        from study.options.storage_url import sqlite_url  # not above: SQLAlchemy takes longer than `nad-study list`

        return sqlite_url(self.database)

    def claim(self) -> None:
        """Name this process as the study's driver."""
        write_json(self.path / driver.FILE, Driver.current().facts())


@contextmanager
def open_folder(path: Path) -> Iterator[StudyFolder]:
    """The folder, made if missing, and locked by this process.

    The kernel frees a dead driver's lock, so the next one takes over, and finds the dead one in `left_by`.
    Raises: NadError if it cannot be written or is full; ConfigError if another process runs this study.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(path).free
        lock = FileLock(path / "study.lock", timeout=0, mode=0o600)
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"the study {path.name!r} is being run by {driver_of(path) or 'another process'}; wait for it, stop it, or"
            " choose another --name"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NadError(f"cannot write to the output folder {path}: {reason}; choose another --output") from error
    try:
        if free < MIN_FREE_BYTES:
            raise NadError(
                f"the disk of {path} has {free / 2**20:.0f} MB left, a study needs {MIN_FREE_BYTES / 2**20:.0f} MB;"
                " free some space or choose another --output"
            )
        with _claimed(path) as folder:
            yield folder
    finally:
        lock.release()


@contextmanager
def _claimed(path: Path) -> Iterator[StudyFolder]:
    """The folder, with this driver's name beside the lock.

    If another driver may be at work beyond the lock's reach, only from `StudyFolder.claim` on.
    """
    folder = StudyFolder(path, driver_of(path))
    try:
        if folder.left_by is None or folder.left_by.gone or is_local(path):
            folder.claim()
        yield folder
    finally:
        last = driver_of(path)
        if last is not None and last.is_this_process:
            (path / driver.FILE).unlink(missing_ok=True)

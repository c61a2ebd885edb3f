"""A study's record for who only looks: read beside the driver that writes it, nothing created or altered.

Imports Optuna but neither torch nor Ray: `nad-study list` and `show` are to answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import sqlalchemy
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from nad.errors import NadError
from study.record.folder import StudyFolder

MASK = "***"
"""Stands for a password in the settings that config.json keeps."""
_JOURNAL = "journal:"


def storage_of(config: Mapping[str, Any]) -> str | None:
    """The storage that a study's config.json names; a relative file counts from where the study was run."""
    storage = config["settings"].get("storage") if isinstance(config.get("settings"), Mapping) else None
    if not storage:
        return None
    start = Path(config.get("directory") or ".")
    for kind in (_JOURNAL, "sqlite:///"):
        if storage.startswith(kind):
            return f"{kind}{start / Path(storage.removeprefix(kind)).expanduser()}"
    return str(storage)


def read_trials(folder: StudyFolder, config: Mapping[str, Any]) -> list[FrozenTrial]:
    """All trials of a study, waiting ones included, by number; none where it has no record yet.

    config: config.json, which names a record outside the folder.
    Raises: NadError where the record cannot be read.
    """
    elsewhere = storage_of(config)
    location = elsewhere or f"{folder.database}"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if MASK in location:
        raise NadError(f"its record is at {location}, and the password is not kept: what follows is from summary.json")
    try:
        with _opened(elsewhere) if elsewhere else _database(folder.database) as storage:
            studies = {} if storage is None else {study.study_name: study for study in storage.get_all_studies()}
            if elsewhere is None and studies and folder.name not in studies:
                raise NadError(
                    f"its record is that of the study {min(studies)!r}: give the folder that name again; what follows"
                    " is from summary.json"
                )
            if storage is None or folder.name not in studies:
                return []
            return storage.get_all_trials(studies[folder.name]._study_id, deepcopy=False)
    except (
        OptunaError,
        sqlalchemy.exc.SQLAlchemyError,
        ImportError,
        RuntimeError,
        OSError,
        ValueError,
        KeyError,
    ) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise NadError(
            f"its record at {location} cannot be read ({reason}): what follows is from summary.json"
        ) from error


@contextmanager
def _opened(location: str) -> Iterator[BaseStorage | None]:
    """The storage; None where it is a file that is not there."""
    if location.startswith(_JOURNAL):
        path = Path(location.removeprefix(_JOURNAL)).expanduser()
        yield JournalStorage(JournalFileBackend(str(path))) if path.exists() else None
        return
    url = sqlalchemy.make_url(location)
    with _database(Path(url.database or "")) if url.get_backend_name() == "sqlite" else _connected(location) as storage:
        yield storage


@contextmanager
def _database(path: Path) -> Iterator[BaseStorage | None]:
    if not path.exists():
        yield None
        return
    with _connected(_read_only(path)) as storage:
        yield storage


@contextmanager
def _connected(url: str) -> Iterator[BaseStorage]:
    storage = RDBStorage(url, skip_table_creation=True)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _read_only(database: Path) -> str:
    """SQLite's name for the file as it is.

    Of the kind that has a log of writes, one without the log is written by nobody: told so, SQLite makes no log of its
    own just to read. The kind on shared file systems has none, and its driver is waited for as by any reader.
    """
    still = "&immutable=1" if _has_logs(database) and not _log_of(database).exists() else ""
    name = quote(quote(str(database.absolute())))  # SQLAlchemy takes one off, SQLite the other
    return f"sqlite:///file:{name}?mode=ro{still}&uri=true"


def _has_logs(database: Path) -> bool:
    """Whether a log of writes is kept beside this database while it is open: its header says so, in the 19th byte."""
    with database.open("rb") as file:
        return file.read(19)[18:] == b"\x02"


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")

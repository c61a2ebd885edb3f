"""Opening a study in its storage."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.study import StudyDirection

from nad.errors import ConfigError
from study.options.storage_url import for_optuna, journal_path, located, masked, read_only_url, sqlite_file
from study.record.file_systems import is_local
from study.record.journal import open_journal
from study.record.retrying_storage import RetryingStorage
from study.record.tables import require_optuna
from study.search.samplers import make_sampler

log = logging.getLogger(__name__)


def open_study(
    storage_url: str,
    name: str,
    sampler_name: str,
    seed: int,
    directions: Sequence[str],
    say: Callable[[str], None] = log.warning,
    *,
    own: bool = False,
) -> optuna.study.Study:
    """Create the study, or load it to go on.

    directions: "minimize" or "maximize", one per metric.  say: told about repairs and outages of the storage.
    own: the storage is this study's alone; another study in it means a renamed folder.
    The sampler's seed grows with the number of trials, so that a resumed study draws new points.
    Raises: ConfigError for an unknown sampler, a storage out of reach or belonging to another study, or a study with
    other directions.
    """
    make_sampler(sampler_name, seed)  # an unknown one is refused before a database is made
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wanted = [StudyDirection[direction.upper()] for direction in directions]
    try:
        storage = RetryingStorage(_open_storage(storage_url, say), say)
        if own:
            _require_own(storage, storage_url, name)
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=wanted,
            load_if_exists=True,
        )
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, ImportError, RuntimeError, OSError) as error:
        raise ConfigError(f"cannot open the study's storage {masked(storage_url)}: {_reason(error)}") from error
    if study.directions != wanted:
        found = " and ".join(direction.name.lower() for direction in study.directions)
        raise ConfigError(f"study {name!r} was made to {found}, not to {' and '.join(directions)}; choose another name")
    study.sampler = make_sampler(sampler_name, seed + len(study.get_trials(deepcopy=False)))
    return study


def _require_own(storage: optuna.storages.BaseStorage, url: str, name: str) -> None:
    """Raise ConfigError if the storage holds studies, but none of this name."""
    names = [study.study_name for study in storage.get_all_studies()]
    if names and name not in names:
        raise ConfigError(
            f"the record {masked(url)} belongs to the study {names[0]!r}, not to {name!r}: rename the folder to"
            f" {names[0]!r}, or choose another --name to start a new study"
        )


def close_study(study: optuna.study.Study) -> None:
    """Close a study's connections; SQLite then folds its write-ahead log into the database."""
    backend = getattr(cast("RetryingStorage", study._storage).inner, "_backend", None)
    if isinstance(backend, optuna.storages.RDBStorage):
        backend.remove_session()
        backend.engine.dispose()


def _open_storage(url: str, say: Callable[[str], None]) -> optuna.storages.BaseStorage:
    journal = journal_path(url)
    if journal is not None:
        return open_journal(journal, say)
    url = located(url, Path.cwd())
    parsed = sqlalchemy.make_url(url)
    backend, _, driver = parsed.drivername.partition("+")
    limits = {name: limit for name, limit in _LIMITS.get(driver or backend, {}).items() if name not in parsed.query}
    file = sqlite_file(url)
    if file is not None and (length := len(os.fsencode(file))) > _LONGEST_PATH:
        raise ConfigError(
            f"the path {file} has {length} bytes, and SQLite opens at most {_LONGEST_PATH}; choose a shorter one"
        )
    storage = _database(url, file, limits)
    if file is not None:
        storage.engine.dispose()  # earlier connections lack the settings below
        settings = _WRITE_AHEAD if is_local(file) else _SHARED
        sqlalchemy.event.listen(storage.engine, "connect", partial(_set_up_sqlite, settings))
    return optuna.storages.get_storage(storage)


def _database(url: str, file: Path | None, limits: Mapping[str, int], attempts: int = 20) -> optuna.storages.RDBStorage:
    """Optuna's storage in a database; missing tables are made."""
    has_tables = _has_tables(url, file, limits)
    try:
        return optuna.storages.RDBStorage(
            for_optuna(url),
            engine_kwargs={"pool_pre_ping": file is None, "connect_args": limits},  # servers may have been restarted
            skip_table_creation=has_tables,
        )
    except sqlalchemy.exc.DBAPIError as error:
        just_made = isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error)
        if not (just_made and attempts):
            raise
    time.sleep(0.1)  # another process makes the same tables at this moment
    return _database(url, file, limits, attempts - 1)


def _has_tables(url: str, file: Path | None, limits: Mapping[str, int]) -> bool:
    """True if Optuna's tables exist, of any version: nothing may be added to another version's.

    Raises: ConfigError for another program's database.
    """
    if file is None:
        return require_optuna(url, limits, shared=True)
    if not file.exists():
        return False
    # a killed writer left part of a transaction: rolling it back takes write access
    torn = file.with_name(f"{file.name}-journal").exists()
    return require_optuna(url if torn else read_only_url(file))


_LONGEST_PATH = 500
"""SQLite has room for 512 bytes, among them those of the names of its logs."""

_WRITE_AHEAD = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL")
"""One write takes 1 ms instead of 20; a killed process loses nothing, a power cut at most the last moments."""

_SHARED = ("PRAGMA journal_mode=DELETE", "PRAGMA synchronous=FULL")
"""For shared file systems: they lack the shared memory for the write-ahead log's index."""

_POSTGRESQL = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_LIMITS: dict[str, dict[str, int]] = {
    "postgresql": _POSTGRESQL,
    "psycopg": _POSTGRESQL,
    "psycopg2": _POSTGRESQL,
    "pymysql": {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60},
}
"""By driver: seconds (PostgreSQL's last: milliseconds) until a silent server counts as gone."""

_PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "pymysql": "pymysql[rsa]",
}
"""Packages of modules with another name."""


def _set_up_sqlite(settings: Sequence[str], connection: Any, _record: object) -> None:
    for statement in settings:
        connection.execute(statement)


def _reason(error: Exception) -> str:
    cause = error.__cause__ if error.__cause__ is not None else error
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        package = _PACKAGES.get(cause.name, cause.name)
        return f'its package is not installed; run: python -m pip install "{package}"'
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else cause).strip().splitlines()[0]

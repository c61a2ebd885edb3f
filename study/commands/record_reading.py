"""Read-only access to a study's record, safe beside its driver.

Imports neither torch nor Ray, for quick answers of `nad-study list` and `show`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from nad.errors import NadError
from study.options.storage_url import for_optuna, hides_password, journal_path, located, read_only_url, sqlite_file
from study.record.folder import StudyFolder
from study.record.tables import require_optuna


def storage_of(config: Mapping[str, Any]) -> str | None:
    """The storage in a study's config.json; a relative file counts from the study's working directory."""
    storage = config["settings"].get("storage") if isinstance(config.get("settings"), Mapping) else None
    if not storage:
        return None
    return located(str(storage), Path(config.get("directory") or "."))


def read_trials(folder: StudyFolder, config: Mapping[str, Any]) -> list[FrozenTrial]:
    """All trials of a study, waiting ones included, by number; none without a record.

    config: config.json, with the URL of a record outside the folder.
    Raises: NadError if the record cannot be read.
    """
    elsewhere = storage_of(config)
    location = elsewhere or f"{folder.database}"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if elsewhere and hides_password(elsewhere):
        raise NadError(
            f"its record is at {location}, and its password is not stored: these figures are from summary.json"
        )
    try:
        with _opened(elsewhere) if elsewhere else _database(folder.database) as storage:
            studies = {} if storage is None else {study.study_name: study for study in storage.get_all_studies()}
            if elsewhere is None and studies and folder.name not in studies:
                raise NadError(
                    f"its record belongs to the study {min(studies)!r}: rename the folder to that; these figures are"
                    " from summary.json"
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
            f"its record at {location} cannot be read ({reason}): these figures are from summary.json"
        ) from error


@contextmanager
def _opened(location: str) -> Iterator[BaseStorage | None]:
    """The storage; None for a missing file."""
    if (journal := journal_path(location)) is not None:
        yield JournalStorage(JournalFileBackend(str(journal))) if journal.exists() else None
        return
    file = sqlite_file(location)
    with _connected(location) if file is None else _database(file) as storage:
        yield storage


@contextmanager
def _database(path: Path) -> Iterator[BaseStorage | None]:
    if not path.exists():
        yield None
        return
    url = read_only_url(path)
    require_optuna(url)
    with _connected(url) as storage:
        yield storage


@contextmanager
def _connected(url: str) -> Iterator[BaseStorage]:
    storage = RDBStorage(for_optuna(url), skip_table_creation=True)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()

"""Opening a study: Optuna's samplers by name, and the storage that holds the record."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection

from nad.errors import ConfigError, unknown_name

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    # group: each set of parameters that occurs together gets a joint density, as conditional spaces need
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


def open_study(
    storage_url: str, name: str, sampler_name: str, seed: int, directions: Sequence[str]
) -> optuna.study.Study:
    """Create the study, or load it to go on.

    directions: "minimize" or "maximize", one per metric.
    The sampler's seed grows with the trials already there, so that a resumed study draws new points.
    Raises: ConfigError for an unknown sampler, a storage that cannot be opened, or a study with other directions.
    """
    if sampler_name not in SAMPLERS:
        raise unknown_name("sampler", sampler_name, SAMPLERS)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wanted = [StudyDirection[direction.upper()] for direction in directions]
    try:
        study = optuna.create_study(
            storage=_open_storage(storage_url), study_name=name, directions=wanted, load_if_exists=True
        )
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"cannot open the study's storage {_printable(storage_url)}: {reason}") from error
    if study.directions != wanted:
        found = " and ".join(direction.name.lower() for direction in study.directions)
        raise ConfigError(f"study {name!r} was made to {found}, not to {' and '.join(directions)}; choose another name")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # TPE's group
        study.sampler = SAMPLERS[sampler_name](seed + len(study.get_trials(deepcopy=False)))
    return study


def _open_storage(url: str) -> optuna.storages.RDBStorage:
    storage = optuna.storages.RDBStorage(url)
    if storage.engine.name == "sqlite":
        storage.engine.dispose()  # the connections made so far lack the settings below
        sqlalchemy.event.listen(storage.engine, "connect", _set_up_sqlite)
    return storage


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """One write takes 1 ms instead of 20; a killed process loses nothing, a power cut at most the last moments."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _printable(url: str) -> str:
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return repr(url)

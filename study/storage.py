"""Opening a study: Optuna's samplers by name, and the storage that holds the record."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from nad.errors import ConfigError, unknown_name


class QuasiRandomSampler(QMCSampler):
    """Sobol points in the space of all parameters that the study has seen, for conditional spaces as well.

    Optuna's own takes the parameters of the study's first trial for the whole space: where that is fine-tuning, no beta
    would ever be quasi-random. Here a trial that leaves a layer out leaves the coordinate of its beta unused.
    """

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter of every trial so far; the controls bring all of them."""
        seen: dict[str, BaseDistribution] = {}
        for other in study.get_trials(deepcopy=False):
            seen |= other.distributions
        return seen


def _tpe(seed: int) -> BaseSampler:
    # group: each set of parameters that occurs together gets a joint density, as conditional spaces need.
    # Of Optuna's ten random trials at the start five are left, controls among them: see `python -m benchmarks.frontier`
    return TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=5)


def _quasi_random(seed: int) -> BaseSampler:
    return QuasiRandomSampler(scramble=True, seed=seed, warn_independent_sampling=False)


def _gp(seed: int) -> BaseSampler:
    # Its model holds only what every trial has; the betas, which a trial may lack, are left to TPE.
    return GPSampler(seed=seed, independent_sampler=TPESampler(seed=seed), warn_independent_sampling=False)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "quasi-random": _quasi_random,
    "random": lambda seed: RandomSampler(seed=seed),
}


def make_sampler(name: str, seed: int) -> BaseSampler:
    """Raises: ConfigError for an unknown sampler."""
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # TPE's group, and the quasi-random one
        return SAMPLERS[name](seed)


def open_study(
    storage_url: str, name: str, sampler_name: str, seed: int, directions: Sequence[str]
) -> optuna.study.Study:
    """Create the study, or load it to go on.

    directions: "minimize" or "maximize", one per metric.
    The sampler's seed grows with the trials already there, so that a resumed study draws new points.
    Raises: ConfigError for an unknown sampler, a storage that cannot be opened, or a study with other directions.
    """
    make_sampler(sampler_name, seed)  # an unknown one is refused before a database is made
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
    study.sampler = make_sampler(sampler_name, seed + len(study.get_trials(deepcopy=False)))
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

"""Opening a study's record, in its folder or the user's storage, as its only driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import optuna

from nad.errors import ConfigError
from reports.analysis.objectives import OBJECTIVES
from study.options.record import RecordOptions
from study.options.search import SearchOptions
from study.options.storage_url import masked
from study.record.driver import Driver
from study.record.file_systems import is_local
from study.record.folder import StudyFolder
from study.record.heartbeat import sole_driver
from study.record.storage import close_study, open_study

_HOME = "home"  # system attribute of a study in the user's storage: its folder


@contextmanager
def open_record(
    options: RecordOptions, search: SearchOptions, folder: StudyFolder, say: Callable[[str], None]
) -> Iterator[optuna.Study]:
    """This folder's study, new or to go on with, held while the block runs.

    Raises: ConfigError if its storage cannot be opened, or has another folder's study of this name, or if the folder's
    results came from another record and would be overwritten.
    """
    alone = options.storage is None and is_local(folder.path)
    left_by = folder.left_by
    gone = left_by if left_by is not None and (alone or left_by.gone) else None
    if gone is not None:
        say(f"the last driver (process {gone.pid} on host {gone.host}) is gone; its unfinished trials run again")
    url = options.storage or folder.storage_url
    directions = [goal.direction for goal in OBJECTIVES]
    study = open_study(url, folder.name, search.sampler, search.seed, directions, say, own=options.storage is None)
    try:
        with nullcontext() if alone else _held(study, options, folder, gone, say):
            folder.claim()
            _require_own_results(study, options, folder)
            yield study
    finally:
        close_study(study)


@contextmanager
def _held(
    study: optuna.Study, options: RecordOptions, folder: StudyFolder, gone: Driver | None, say: Callable[[str], None]
) -> Iterator[None]:
    """Guard against other drivers beyond the reach of the folder's lock."""
    with sole_driver(study, gone, take_over=options.take_over, say=say):
        if options.storage is not None:
            _require_home(study, folder, take_over=options.take_over)
        yield


def _require_home(study: optuna.Study, folder: StudyFolder, *, take_over: bool) -> None:
    """Raise ConfigError if the storage's study of this name belongs to another folder."""
    attrs = study._storage.get_study_system_attrs(study._study_id)
    home = attrs.get(_HOME)
    if home not in (None, str(folder.path)) and not take_over:
        raise ConfigError(
            f"the storage already has a study {folder.name!r} of the folder {home}; choose another"
            f" --name, or add --take-over to go on with it in {folder.path}"
        )
    if home != str(folder.path):
        study._storage.set_study_system_attr(study._study_id, _HOME, str(folder.path))


def _require_own_results(study: optuna.Study, options: RecordOptions, folder: StudyFolder) -> None:
    """Raise ConfigError if the folder has results, but the record is empty."""
    if folder.summary.exists() and not study.user_attrs and not study.get_trials(deepcopy=False):
        record = folder.database if options.storage is None else masked(options.storage)
        raise ConfigError(
            f"the results in {folder.path} came from another record than {record}: give the --storage named in its"
            " config.json, if any, or choose another --name to start a new study"
        )

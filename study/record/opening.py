"""Opening a study's record: in its folder or in a storage of the user's choice, and as its only driver."""

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

_HOME = "home"  # system attribute of a study in a storage of its own: the folder that it belongs to


@contextmanager
def open_record(
    options: RecordOptions, search: SearchOptions, folder: StudyFolder, say: Callable[[str], None]
) -> Iterator[optuna.Study]:
    """The study of this folder, new or to go on with, held while the block runs.

    Raises: ConfigError where its storage cannot be opened, or the study is another's there; or where the folder's
    results came from another record, which a new one would overwrite.
    """
    alone = options.storage is None and is_local(folder.path)
    left_by = folder.left_by
    gone = left_by if left_by is not None and (alone or left_by.gone) else None
    if gone is not None:
        say(f"the driver that ran it (process {gone.pid} on host {gone.host}) is gone; its unfinished trials run again")
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
    """Against other drivers, where the folder's own lock does not reach everybody."""
    with sole_driver(study, gone, take_over=options.take_over, say=say):
        if options.storage is not None:
            _require_home(study, folder, take_over=options.take_over)
        yield


def _require_home(study: optuna.Study, folder: StudyFolder, *, take_over: bool) -> None:
    """Raise ConfigError where the storage's study of this name belongs to another folder."""
    attrs = study._storage.get_study_system_attrs(study._study_id)
    home = attrs.get(_HOME)
    if home not in (None, str(folder.path)) and not take_over:
        raise ConfigError(
            f"the storage has a study {folder.name!r} already, which belongs to the folder {home}; choose another"
            f" --name, or add --take-over to go on with it in {folder.path}"
        )
    if home != str(folder.path):
        study._storage.set_study_system_attr(study._study_id, _HOME, str(folder.path))


def _require_own_results(study: optuna.Study, options: RecordOptions, folder: StudyFolder) -> None:
    """Raise ConfigError where the folder has results and the record has nothing that they could have come from."""
    if folder.summary.exists() and not study.user_attrs and not study.get_trials(deepcopy=False):
        record = folder.database if options.storage is None else masked(options.storage)
        raise ConfigError(
            f"the results in {folder.path} came from a record that is not in {record}: give the --storage that its"
            " config.json names, if any, or choose another --name to start a new study"
        )

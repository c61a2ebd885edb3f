"""Reading a study's record beside whoever writes it."""

import gc
import multiprocessing
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nad.errors import NadError
from study.commands.record_reading import read_trials, storage_of
from study.record import storage
from study.record.folder import StudyFolder
from study.record.storage import close_study, open_study


@pytest.mark.parametrize(
    ("storage", "located"),
    [
        (None, None),
        ("journal:j.log", "journal:/work/j.log"),
        ("journal:/x/j.log", "journal:/x/j.log"),
        ("sqlite:///x.db", "sqlite:////work/x.db"),
        ("sqlite:////x/y.db", "sqlite:////x/y.db"),
        ("postgresql+psycopg://me@host/db", "postgresql+psycopg://me@host/db"),
    ],
)
def test_relative_files_count_from_where_the_study_was_run(storage: str | None, located: str | None) -> None:
    assert storage_of({"directory": "/work", "settings": {"storage": storage}}) == located


def test_study_without_settings_has_its_record_in_its_folder() -> None:
    assert storage_of({}) is None
    assert storage_of({"settings": {}}) is None


def test_names_that_mean_something_in_urls_are_only_names(tmp_path: Path, url: str) -> None:
    """And a database that nobody writes gets no log of writes beside it, although it is of the kind that has one."""
    study = open_study(url, "a b?c#d%20e", "random", 0, ["minimize", "maximize"])
    study.add_trial(optuna.create_trial(values=[0.1, 0.9]))
    del study
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]
    folder = tmp_path / "a b?c#d%20e"
    folder.mkdir()
    (tmp_path / "study.db").rename(folder / "study.db")
    assert [trial.values for trial in read_trials(StudyFolder(folder), {})] == [[0.1, 0.9]]
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [folder.name, f"{folder.name}/study.db"]


@pytest.fixture
def shared(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[StudyFolder, dict[str, Any]]:
    """A study whose record is on a file system of several machines: no log of writes is ever beside it."""
    monkeypatch.setattr(storage, "is_local", lambda _path: False)
    study = open_study(url, "s", "random", 0, ["minimize", "maximize"])
    study.add_trial(optuna.create_trial(values=[0.1, 0.9]))
    close_study(study)
    return StudyFolder(tmp_path / "s"), {"settings": {"storage": url}}


def write_in_part(database):
    """Part of a transaction that is larger than SQLite's memory for it, and so stands in the file already."""
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    for statement in (
        "PRAGMA cache_size=1",
        "BEGIN EXCLUSIVE",
        "UPDATE trial_values SET value = 0.5",
        "CREATE TABLE filler AS SELECT zeroblob(100000)",
    ):
        connection.execute(statement)
    return connection


def test_what_is_being_written_on_a_shared_file_system_is_waited_for(
    shared: tuple[StudyFolder, dict[str, Any]], tmp_path: Path
) -> None:
    with closing(write_in_part(tmp_path / "study.db")) as driver:
        ends = threading.Timer(0.5, driver.rollback)
        ends.start()
        assert [trial.values for trial in read_trials(*shared)] == [[0.1, 0.9]]
        ends.join()
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


def test_what_a_killed_driver_wrote_in_part_is_not_read(
    shared: tuple[StudyFolder, dict[str, Any]], tmp_path: Path
) -> None:
    """Only who may write can take it back: the next driver does."""
    driver = multiprocessing.get_context("spawn").Process(target=_write_in_part_and_die, args=(tmp_path / "study.db",))
    driver.start()
    driver.join()
    assert {path.name for path in tmp_path.iterdir()} == {"study.db", "study.db-journal"}
    with pytest.raises(NadError, match=r"cannot be read .*these figures are from summary\.json"):
        read_trials(*shared)
    with closing(sqlite3.connect(tmp_path / "study.db")) as later:
        later.execute("BEGIN EXCLUSIVE")
    assert [trial.values for trial in read_trials(*shared)] == [[0.1, 0.9]]


def _write_in_part_and_die(database) -> None:
    write_in_part(database)
    os._exit(1)


@pytest.mark.parametrize("location", ["journal:j.log", "sqlite:///other.db"])
def test_record_elsewhere_is_read_and_one_that_is_not_there_is_not_made(location: str, tmp_path: Path) -> None:
    config = {"directory": str(tmp_path), "settings": {"storage": location}}
    folder = StudyFolder(tmp_path / "s")
    assert read_trials(folder, config) == []
    assert list(tmp_path.iterdir()) == []
    name, _, path = storage_of(config).rpartition(":")
    opened = JournalStorage(JournalFileBackend(path)) if name == "journal" else storage_of(config)
    study = optuna.create_study(storage=opened, study_name="s", directions=["minimize", "maximize"])
    optuna.create_study(storage=opened, study_name="another", directions=["minimize", "maximize"])
    study.add_trial(optuna.create_trial(values=[0.1, 0.9]))
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert [trial.values for trial in read_trials(folder, config)] == [[0.1, 0.9]]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_password_that_is_not_kept_is_one_sentence(tmp_path: Path) -> None:
    config = {"settings": {"storage": "postgresql+psycopg://me:***@host/db"}}
    with pytest.raises(NadError, match=r"me:\*\*\*@host/db, and its password is not stored: these figures"):
        read_trials(StudyFolder(tmp_path), config)

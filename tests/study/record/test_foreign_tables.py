"""Databases of other programs: nothing is added to them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from nad.errors import ConfigError, NadError
from study.commands.record_reading import read_trials
from study.options.record import RecordOptions
from study.options.search import SearchOptions
from study.record.folder import StudyFolder
from study.record.opening import open_record
from study.record.storage import close_study, open_study
from study.record.tables import require_optuna

DIRECTIONS = ("minimize", "maximize")
OTHERS = {
    "music": ("CREATE TABLE albums (id, title)", "CREATE TABLE songs (id, title)"),
    "clinic": ("CREATE TABLE studies (id, patient)", "CREATE TABLE trials (id, drug)"),
    "MLflow": ("CREATE TABLE alembic_version (version_num)", "CREATE TABLE experiments (id)"),
}
"""Another program's tables, of which some are called as Optuna's are."""


def make(path: Path, statements: tuple[str, ...], mode: str = "DELETE") -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path.read_bytes()


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("program", OTHERS)
def test_database_of_another_program_is_left_as_it_is(tmp_path: Path, program: str, mode: str) -> None:
    path = tmp_path / "their.db"
    before = make(path, OTHERS[program], mode)
    said = rf"{path} is a database of another program, with the table.*; nothing was added to it; name another one"
    with pytest.raises(ConfigError, match=said):
        open_study(f"sqlite:///{path}", "s", "random", 0, DIRECTIONS)
    with pytest.raises(NadError, match=said):
        read_trials(StudyFolder(tmp_path / "s"), {"settings": {"storage": f"sqlite:///{path}"}})
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["their.db"]


def test_another_program_s_study_db_in_the_folder_is_not_taken(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    folder.path.mkdir()
    make(folder.database, OTHERS["music"])
    said = r"another program, with the tables albums, songs; nothing was added to it; .* --output"
    with (
        pytest.raises(ConfigError, match=said),
        open_record(RecordOptions(name="s"), SearchOptions(), folder, pytest.fail),
    ):
        pass


@pytest.mark.parametrize("statements", [(), ("CREATE TABLE studies (study_id INTEGER, study_name VARCHAR(512))",)])
def test_empty_database_and_one_that_was_begun_are_taken(tmp_path: Path, statements: tuple[str, ...]) -> None:
    path = tmp_path / "study.db"
    make(path, statements)
    assert not require_optuna(f"sqlite:///{path}")


def test_optuna_s_database_may_hold_other_tables_beside_its_own(url: str, tmp_path: Path) -> None:
    make(tmp_path / "study.db", OTHERS["music"])
    study = open_study(url, "s", "random", 0, DIRECTIONS)
    study.add_trial(optuna.create_trial(values=[0.1, 0.9]))
    close_study(study)
    assert require_optuna(url)


def test_server_s_database_may_hold_other_programs_tables_but_for_those_called_alike(tmp_path: Path) -> None:
    for program, statements in OTHERS.items():
        make(tmp_path / program, statements)
    assert not require_optuna(f"sqlite:///{tmp_path}/music", shared=True)
    with pytest.raises(ConfigError, match="with the table alembic_version;"):
        require_optuna(f"sqlite:///{tmp_path}/MLflow", shared=True)
    with pytest.raises(ConfigError, match="with the tables studies, trials;"):
        require_optuna(f"sqlite:///{tmp_path}/clinic", shared=True)


def test_database_of_another_version_of_optuna_has_its_own_sentence_and_stays_as_it_is(
    url: str, tmp_path: Path
) -> None:
    before = make(
        tmp_path / "study.db",
        ("UPDATE alembic_version SET version_num = 'v9.9.9'", "DROP TABLE trial_heartbeats"),
    )
    with pytest.raises(ConfigError, match="no longer compatible with the table schema"):
        open_study(url, "s", "random", 0, DIRECTIONS)
    assert (tmp_path / "study.db").read_bytes() == before

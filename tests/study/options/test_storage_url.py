from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nad.errors import ConfigError
from study.commands.record_reading import read_trials, storage_of
from study.options.config import StudyConfig
from study.options.record import RecordOptions
from study.options.search import SearchOptions
from study.options.storage_url import (
    hides_password,
    journal_path,
    located,
    masked,
    masked_arguments,
    require_storage,
    sqlite_file,
    sqlite_url,
)
from study.record.folder import StudyFolder
from study.record.opening import open_record
from study.record.storage import close_study, open_study


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me@h/x",
        "mysql+pymysql://me:pw@h:3306/x",
        "sqlite:////tmp/a.db",
        "sqlite:///a.db",
        "journal:a",
    ],
)
def test_storages_that_keep_a_study_are_taken(url: str) -> None:
    assert StudyConfig.of(storage=url).record.storage == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("runs/study.db", "'runs/study.db' is no storage: write postgresql"),
        ("", "'' is no storage"),
        ("journal:", "names no file"),
        ("sqlite://", "is lost when the study ends"),
        ("sqlite:///:memory:", "is lost when the study ends"),
        ("sqlite:///file:a?mode=memory&uri=true", "is lost when the study ends"),
        ("postgresql://me:***@h/x", "has its password masked, as in config.json; put the password in"),
        ("postgresql://h/x?password=***", "has its password masked, as in config.json; put the password in"),
        ("postgresql://me:secret@h:port/x", r"'postgresql://me:\*\*\*@h:port/x' is no storage"),
    ],
)
def test_what_keeps_nothing_is_refused_before_anything_starts(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        require_storage(url)


def test_journal_is_named_by_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert journal_path("journal:a/b.log") == tmp_path / "a" / "b.log"
    assert journal_path("sqlite:///journal:a") is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@h/x", "postgresql://me:***@h/x"),
        ("postgresql://:secret@h/x", "postgresql://:***@h/x"),
        ("postgresql://me:se@cret@h/x", "postgresql://me:***@h/x"),
        ("postgresql://me:se/cr:et@h/x", "postgresql://me:***@h/x"),
        ("postgresql://me:se?cret@h/x", "postgresql://me:***@h/x"),
        (
            "postgresql://h:5432/x?user=me&password=secret&sslmode=require",
            "postgresql://h:5432/x?user=me&password=***&sslmode=require",
        ),
        ("mysql://h/x?ssl_key_password=secret", "mysql://h/x?ssl_key_password=***"),
        ("postgresql://me@h:5432/x", "postgresql://me@h:5432/x"),
        ("postgresql://h:5432/x?user=a@b", "postgresql://h:5432/x?user=a@b"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
        ("journal:/tmp/a@b:c", "journal:/tmp/a@b:c"),
    ],
)
def test_passwords_are_masked_and_nothing_else_is(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(st.text(min_size=3).map(lambda text: f"(({text}))"))
def test_no_quoted_password_is_shown(password: str) -> None:
    quoted = quote(password, safe="")
    for url in (f"postgresql://me:{quoted}@h/x?a=b", f"mysql+pymysql://h/x?password={quoted}&a=b"):
        assert quoted not in masked(url)
        assert "a=b" in masked(url)


def test_commands_and_settings_are_written_down_without_the_password() -> None:
    url = "postgresql://me:secret@h/x"
    for words in (["--storage", url], [f"--storage={url}"]):
        assert "secret" not in " ".join(masked_arguments(["--seed", "1", *words]))
        assert masked_arguments(["--seed", "1", *words])[:2] == ["--seed", "1"]
    config = StudyConfig.of(storage=url)
    assert config.shown()["storage"] == "postgresql://me:***@h/x"
    assert "secret" not in repr(config)


NAMES = [
    "a%20b",
    "a b",
    "why?",
    "#1",
    "a&b;c",
    "a:b@c",
    "{x}",
    "ü",
    "l\udcfct",
    "new\nline",
    "~",
    "***",
    "file:x",
    "a" * 250,
]
"""Folders that mean something in URLs, templates or shells; one has a byte that is no UTF-8."""


@pytest.mark.parametrize("name", NAMES)
def test_record_lies_in_its_folder_whatever_that_is_called(tmp_path: Path, tables: Path, name: str) -> None:
    folder = StudyFolder(tmp_path / name / "s")
    folder.path.mkdir(parents=True)
    shutil.copy(tables, folder.database)
    with open_record(RecordOptions(name="s"), SearchOptions(), folder, pytest.fail) as study:
        study.add_trial(optuna.create_trial(values=[0.1, 0.9]))
    assert [trial.values for trial in read_trials(folder, {})] == [[0.1, 0.9]]
    moved = StudyFolder(folder.path.rename(tmp_path / "s"))
    assert len(read_trials(moved, {})) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "s"])
    assert [path.name for path in moved.path.iterdir() if path.suffix == ".db"] == ["study.db"]


@pytest.mark.parametrize("kind", ["journal:", "sqlite:///"])
def test_storage_is_the_same_file_for_the_driver_and_for_who_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """From a folder whose name means something in URLs, and from another one later."""
    there = tmp_path / "a%20b?#{x}"
    there.mkdir()
    monkeypatch.chdir(there)
    url = f"{kind}{'c%20d' if kind == 'journal:' else 'c%2520d'}"
    close_study(open_study(url, "s", "random", 0, ["minimize", "maximize"]))
    assert (there / "c%20d").exists()
    monkeypatch.chdir(tmp_path)
    config = {"directory": str(there), "settings": {"storage": url}}
    located_at = storage_of(config)
    assert located_at is not None
    assert (journal_path(located_at) or sqlite_file(located_at)) == there / "c%20d"
    study = open_study(located_at, "s", "random", 0, ["minimize", "maximize"])
    study.add_trial(optuna.create_trial(values=[0.1, 0.9]))
    close_study(study)
    assert len(read_trials(StudyFolder(tmp_path / "s"), config)) == 1


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////a%20b", "/a b"),
        ("sqlite:////a%2520b?timeout=5", "/a%20b"),
        ("sqlite+pysqlite:////x", "/x"),
        ("sqlite:///file:/x%2520y?uri=true", "/x y"),
        ("sqlite:///file:///x?uri=true&mode=rw", "/x"),
        ("sqlite:///file:x?uri=true", "/work/x"),
    ],
)
def test_url_names_the_file_that_sqlite_opens(url: str, file: str) -> None:
    assert sqlite_file(located(url, Path("/work"))) == Path(file)
    assert located(located(url, Path("/work")), Path("/other")) == located(url, Path("/work"))


def test_question_mark_that_begins_no_option_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown option '/s\.db'; write %3F for a question mark"):
        require_storage(f"sqlite:///{tmp_path}/why?/s.db")


def test_stars_in_a_file_s_name_are_no_password() -> None:
    assert [hides_password(url) for url in ("journal:/a***b", "sqlite:////a***b", "postgresql://me:***@h/x")] == [
        False,
        False,
        True,
    ]
    assert masked("journal:/a?token=b") == "journal:/a?token=b"


def test_path_that_is_too_long_for_sqlite_is_told(tmp_path: Path) -> None:
    room = 500 - len(str(tmp_path)) - len("/s.db") - 1
    parts = tmp_path / ("a" * (room // 2)) / ("b" * (room - room // 2 - 1))
    for folder, fits in ((parts, True), (parts.with_name(f"{parts.name}bbb"), False)):
        folder.mkdir(parents=True)
        url = sqlite_url(folder / "s.db")
        if fits:
            close_study(open_study(url, "s", "random", 0, ["minimize"]))
        else:
            with pytest.raises(ConfigError, match="SQLite opens at most 500; choose a shorter one"):
                open_study(url, "s", "random", 0, ["minimize"])

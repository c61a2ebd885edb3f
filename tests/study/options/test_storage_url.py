from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nad.errors import ConfigError
from study.options.config import StudyConfig
from study.options.storage_url import journal_path, masked, masked_arguments, require_storage


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
    assert StudyConfig(storage=url).storage == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("runs/study.db", "'runs/study.db' is no storage: write postgresql"),
        ("", "'' is no storage"),
        ("journal:", "names no file"),
        ("sqlite://", "is lost when the study ends"),
        ("sqlite:///:memory:", "is lost when the study ends"),
        ("sqlite:///file:a?mode=memory&uri=true", "is lost when the study ends"),
        ("postgresql://me:***@h/x", "with its password masked; put the password in"),
        ("postgresql://h/x?password=***", "with its password masked; put the password in"),
        ("postgresql://me:secret@h:port/x", r"'postgresql://me:\*\*\*@h:port/x' is no storage"),
    ],
)
def test_what_keeps_nothing_is_refused_before_anything_starts(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        require_storage(url)


def test_journal_is_named_by_an_absolute_path(tmp_path, monkeypatch) -> None:
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
    config = StudyConfig(storage=url)
    assert config.shown()["storage"] == "postgresql://me:***@h/x"
    assert "secret" not in repr(config)

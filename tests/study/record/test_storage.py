from __future__ import annotations

from pathlib import Path

import pytest
from optuna.storages._rdb.models import BaseModel
from sqlalchemy import Engine

from nad.errors import ConfigError
from study.record.storage import open_study

DIRECTIONS = ("minimize", "maximize")


def test_unknown_sampler_is_refused_with_a_suggestion(url: str) -> None:
    with pytest.raises(ConfigError, match="unknown sampler 'tpo'; did you mean 'tpe'"):
        open_study(url, "s", "tpo", 0, DIRECTIONS)


def test_storage_that_cannot_be_opened_is_one_sentence_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot open .*missing/study.db: .*unable to open") as one:
        open_study(f"sqlite:///{tmp_path}/missing/study.db", "s", "tpe", 0, DIRECTIONS)
    assert "\n" not in str(one.value)
    with pytest.raises(ConfigError, match="cannot open") as other:
        open_study("postgresql://me:secret@nowhere/x", "s", "tpe", 0, DIRECTIONS)
    assert "secret" not in str(other.value)


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database, but long enough to be taken for the header of one " * 9)
    with pytest.raises(ConfigError, match="not a database"):
        open_study(f"sqlite:///{tmp_path}/study.db", "s", "tpe", 0, DIRECTIONS)


def test_study_with_other_objectives_is_refused(url: str) -> None:
    open_study(url, "s", "random", 0, DIRECTIONS)
    with pytest.raises(ConfigError, match="'s' was made to minimize and maximize, not to minimize"):
        open_study(url, "s", "random", 0, ("minimize",))


def test_tables_made_by_another_study_at_the_same_moment_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_all = BaseModel.metadata.create_all
    calls = []

    def overtaken(engine: Engine) -> None:
        calls.append(engine)
        create_all(engine)
        if len(calls) == 1:  # both looked for tables, and found none
            create_all(engine, checkfirst=False)

    monkeypatch.setattr(BaseModel.metadata, "create_all", overtaken)
    study = open_study(f"sqlite:///{tmp_path}/study.db", "s", "random", 0, DIRECTIONS)
    assert (study.study_name, study.trials) == ("s", [])
    assert len(calls) == 2

from __future__ import annotations

import math
from pathlib import Path

import pytest
from toys import conditional_space, play_all, searcher_of

from nad.errors import ConfigError
from study.asking import enqueue
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


def test_quasi_random_points_are_even_where_a_parameter_is_conditional(url: str) -> None:
    """Of 16 Sobol points a half has the layer, and their betas lie in 8 of 16 strata: no two share one."""
    study = open_study(url, "s", "quasi-random", 0, DIRECTIONS)
    enqueue(study, {"group3": False}, {"control": "fine-tuning"})
    enqueue(study, {"group3": True, "beta3": 10.0}, {"control": "nad-code"})
    play_all(searcher_of(study, wanted=18, space=conditional_space))
    betas = [trial.params["beta3"] for trial in study.trials[2:] if trial.params["group3"]]
    assert len(betas) == 8
    assert len({int(math.log10(beta) / 4 * 16) for beta in betas}) == 8

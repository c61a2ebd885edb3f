from __future__ import annotations

import json

import optuna
import pytest
from toys import play, searcher_of

from study.record.texts import MOST_BYTES, fitted
from study.search.lost_trial import LostTrial

MYSQL_TEXT = 65_535
"""Bytes of MySQL's type TEXT, which Optuna keeps an attribute's JSON in."""


@pytest.mark.parametrize("character", ["a", "\\", "ü", "語", "😀", "\x00", "\udcfc"])
def test_long_text_of_any_characters_keeps_its_two_ends(character: str) -> None:
    text = f"begin{character * 100_000}end"
    cut = fitted(text)
    assert MOST_BYTES * 0.9 < len(json.dumps(cut)) <= MOST_BYTES
    head, mark, tail = cut.split("\n")
    assert (head, tail) == (text[: len(head)], text[-len(tail) :])
    assert mark == f"[{len(text) - len(head) - len(tail):,} characters left out]"
    assert fitted(cut) == cut


def test_what_fits_is_left_as_it_is() -> None:
    value = {"error": "ü" * 2000, "curve": [{"asr": 0.5}], "number": 7, "none": None}
    assert fitted(value) == value
    assert [len(text) < 10_000 for text in fitted({"error": "ü" * 9000, "runs": ["ü" * 9000]}).values()] == [True, True]


def test_error_over_what_mysql_takes_is_recorded_from_its_first_line_to_its_last(study: optuna.study.Study) -> None:
    error = "OSError: 語 is wrong\n" + "語" * 70_000 + "\nthe last line"
    play(searcher_of(study), {}, error=error)
    study.set_user_attr("baseline", {"error": error})
    for kept in (study.trials[0].user_attrs["error"], study.user_attrs["baseline"]["error"]):
        assert len(json.dumps(kept)) < MYSQL_TEXT
        assert kept.startswith("OSError: 語 is wrong\n")
        assert kept.endswith("\nthe last line")


def test_traceback_of_a_lost_trial_is_cut_likewise(study: optuna.study.Study) -> None:
    searcher = searcher_of(study)
    searcher.suggest("t")
    searcher.on_trial_complete("t", None, LostTrial("killed", "😀" * 20_000))
    assert len(json.dumps(study.trials[0].user_attrs["traceback"])) < MYSQL_TEXT

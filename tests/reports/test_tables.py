from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.figures.frontier_info import frontier_info
from reports.study_folder import Study, read_study
from reports.tables import Cell, failures, front_rows, mean_overhead, pruned, trials_table

Make = Callable[..., Path]


@pytest.fixture
def study(make_study: Make) -> Study:
    return read_study(make_study())


def _column(study: Study, head: str) -> list[Cell]:
    table = trials_table(study)
    index = [column.head for column in table.columns].index(head)
    return [row.cells[index] for row in table.rows]


def test_all_trials_are_listed_with_every_hyperparameter(study: Study) -> None:
    table = trials_table(study)
    heads = [column.head for column in table.columns]
    assert len(table.rows) == len(study.trials)
    for head in ("β group1", "β group2", "β group3", "epochs", "clean data", "recipe", "control", "time", "host"):
        assert head in heads
    assert "draw" not in heads


def test_cells_are_read_as_percents_and_sorted_as_numbers(study: Study) -> None:
    assert _column(study, "ASR")[0] == Cell("74.1%", 0.7412)
    assert _column(study, "clean data")[0] == Cell("10%", 0.1)
    assert _column(study, "β group3")[1] == Cell("1,000", 1000.0)


def test_what_a_trial_has_not_got_sorts_last(study: Study) -> None:
    failed = study.trials.index[study.trials["state"] == "FAIL"][0]
    assert _column(study, "ASR")[failed] == Cell("–", "")
    assert _column(study, "β group1")[0] == Cell("–", "")


def test_repeats_are_shown_once_there_are_any(make_study: Make) -> None:
    study = read_study(make_study(change=lambda rows, _: rows[3].update(draw=1)))
    assert [cell.text for cell in _column(study, "draw")[:4]] == ["0", "0", "0", "1"]


def test_rows_know_the_front_and_the_recommended_trial(study: Study) -> None:
    rows = trials_table(study).rows
    assert tuple(sorted(frontier_info(study).front)) == tuple(int(row.cells[0].key) for row in rows if row.on_front)
    assert study.recommended is not None
    assert [int(row.cells[0].key) for row in rows if row.recommended] == [study.recommended.number]


def test_the_front_in_words_is_the_front_of_the_figure(study: Study) -> None:
    rows = front_rows(study)
    assert tuple(row.number for row in rows) == frontier_info(study).front
    assert sum("recommended" in row.notes for row in rows) == 1
    assert all(set(row.setting) == {"distilled", "epochs", "clean data", "recipe"} for row in rows)


def test_a_failure_is_a_sentence_and_its_details(study: Study) -> None:
    first, second = failures(study.trials)
    assert (first.number, second.number) == (15, 16)
    assert first.sentence.startswith("the loss of the erase is no longer finite")
    assert first.details.startswith("Traceback")
    assert first.details.endswith("at epoch 3")


def test_further_lines_of_an_error_are_details(make_study: Make) -> None:
    study = read_study(make_study(change=lambda rows, _: rows[15].update(error="one\ntwo\nthree", traceback="four\n")))
    assert failures(study.trials)[0] == (15, "one", "two\nthree\n\nfour")


@pytest.mark.parametrize("error", ["", "\n \n"])
def test_a_failure_without_a_message_says_so(make_study: Make, error: str) -> None:
    study = read_study(make_study(change=lambda rows, _: rows[15].update(error=error, traceback="")))
    assert failures(study.trials)[0] == (15, "The trial left no message.", "")


def test_pruned_trials_say_why_and_are_no_failures(make_study: Make, prune: Any) -> None:
    study = read_study(make_study(change=prune))
    reason = "after 3 of 9 epochs it ranked 8 of 9, and the best 5 go on"
    assert pruned(study.trials) == ((5, reason), (6, reason))
    assert [failure.number for failure in failures(study.trials)] == [15, 16]
    rows = [row for row in trials_table(study).rows if row.state == "PRUNED"]
    assert [(row.cells[0].text, row.cells[1].text, row.on_front) for row in rows] == [
        ("5", "pruned", False),
        ("6", "pruned", False),
    ]
    assert not {5, 6} & {row.number for row in front_rows(study)}


def test_pruned_trial_without_a_reason_says_so(make_study: Make) -> None:
    study = read_study(make_study(change=lambda rows, _: rows[5].update(state="PRUNED", asr="", acc="", error=" ")))
    assert pruned(study.trials) == ((5, "The trial left no reason."),)


def test_overhead_is_what_is_neither_training_nor_evaluating(study: Study, make_study: Make) -> None:
    assert mean_overhead(study.complete) == pytest.approx(0.21)
    assert mean_overhead(study.complete.iloc[:0]) is None


def test_a_hyperparameter_of_mixed_kinds_is_text(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], _summary: object) -> None:
        rows[0]["params_lr"], rows[1]["params_lr"] = "auto", 0.1

    table = trials_table(read_study(make_study(change=change)))
    assert [column.numeric for column in table.columns if column.head == "lr"] == [False]

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reports.files import ReportError
from reports.trial_table import read_trials

Make = Callable[..., Path]


@pytest.fixture
def table(make_study: Make) -> Path:
    return make_study() / "trials.csv"


def test_params_keep_their_types_and_leave_out_what_a_trial_did_not_have(table: Path) -> None:
    trials = read_trials(table).set_index("number")
    params = trials.loc[0, "params"]
    assert params == {
        "distil_group1": False,
        "distil_group2": False,
        "distil_group3": False,
        "epochs": 10,
        "clean_fraction": 0.1,
        "recipe": "code",
    }
    assert isinstance(params["epochs"], int)


def test_trials_come_by_number_whatever_their_order_in_the_file(table: Path) -> None:
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], lines[3], lines[1], lines[2]]))
    assert read_trials(table)["number"].tolist() == [0, 1, 2]


def test_a_traceback_keeps_its_lines_and_a_failed_trial_has_no_scores(table: Path) -> None:
    failed = read_trials(table).query("state == 'FAIL'").iloc[0]
    assert len(failed["traceback"].splitlines()) == 4
    assert np.isnan(failed["asr"])


def test_words_that_pandas_takes_for_missing_stay_words(make_study: Make) -> None:
    def change(rows: list[dict[str, object]], _summary: object) -> None:
        rows[0]["params_recipe"] = "None"
        rows[1]["host"] = "NA"

    trials = read_trials(make_study(change=change) / "trials.csv")
    assert trials["params"][0]["recipe"] == "None"
    assert trials["host"][1] == "NA"


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_table_that_was_cut_off_is_refused(table: Path, kept: float) -> None:
    content = table.read_bytes()
    table.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ReportError, match=r"trials\.csv' (is|has)"):
        read_trials(table)


def test_a_row_with_too_few_values_is_refused(table: Path) -> None:
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([*lines[:3], "2,COMPLETE,fine-tuning\n"]))
    with pytest.raises(ReportError, match=r"has 3 values in row 3, not 26"):
        read_trials(table)


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("asr", 1.7, "1.7 as asr of trial 5, not a fraction"),
        ("acc", "", "nan as acc of trial 5, not a fraction"),
        ("asr", "much", "'much' in column 'asr', a column of numbers"),
        ("state", "DONE", "state 'DONE'; known: COMPLETE"),
        ("number", 4, "number of its own"),
        ("started", "yesterday", "has no ISO 8601 time"),
    ],
)
def test_a_wrong_value_is_named(make_study: Make, column: str, value: object, sentence: str) -> None:
    folder = make_study(change=lambda rows, _: rows[5].update({column: value}))
    with pytest.raises(ReportError) as caught:
        read_trials(folder / "trials.csv")
    assert sentence in str(caught.value)
    assert "run the study's command again" in str(caught.value)


def test_a_missing_column_is_named(table: Path) -> None:
    table.write_text(table.read_text().replace("compute_seconds", "other", 1))
    with pytest.raises(ReportError, match="no column 'compute_seconds'"):
        read_trials(table)

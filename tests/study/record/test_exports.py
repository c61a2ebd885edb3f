"""The tables of trials: the CSV and the Parquet file say the same."""

from __future__ import annotations

import stat
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pandas as pd
import pyarrow.parquet as pq
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from nad.errors import NadError
from reports.trial_table import read_trials
from study.record.exports import converged, stopped, trials_table, write_parquet, write_table


def trial(state: TrialState, params: dict, **attrs: object) -> FrozenTrial:
    kinds = {
        name: FloatDistribution(0, 1) if isinstance(value, float) else CategoricalDistribution([value])
        for name, value in params.items()
    }
    return create_trial(
        state=state,
        values=[0.25, 0.5] if state is TrialState.COMPLETE else None,
        params=params,
        distributions=kinds,
        user_attrs={"draw": 0, "seed": 2**63 - 25, "started": "2026-03-14T09:26:05+00:00", **attrs},
    )


@pytest.fixture
def table() -> pd.DataFrame:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.add_trial(trial(TrialState.COMPLETE, {"distil": True, "beta": 0.5, "mixed": 3}, control='nad, "paper"'))
    study.add_trial(trial(TrialState.COMPLETE, {"distil": False, "mixed": "three"}, curve=[{"asr": 0.5, "acc": 0.25}]))
    study.add_trial(trial(TrialState.FAIL, {"distil": False}, error="one line\nand שלום 😀", traceback="…"))
    return trials_table(study)


def test_parquet_says_what_the_csv_says(table: pd.DataFrame, tmp_path: Path) -> None:
    write_table(tmp_path / "trials.csv", table)
    write_parquet(tmp_path / "trials.parquet", table)
    read, csv = pd.read_parquet(tmp_path / "trials.parquet"), tmp_path / "trials.csv"
    again = tmp_path / "again.csv"
    read.to_csv(again, index=False)
    assert again.read_text(encoding="utf-8") == csv.read_text(encoding="utf-8")
    assert len(read) == 3


def test_parquet_columns_have_types_also_where_they_are_empty(table: pd.DataFrame, tmp_path: Path) -> None:
    write_parquet(tmp_path / "t.parquet", table.iloc[:0])
    write_parquet(tmp_path / "full.parquet", table)
    empty, full = pq.read_schema(tmp_path / "t.parquet"), pq.read_schema(tmp_path / "full.parquet")
    assert empty.names == full.names == list(table)
    fixed = [name for name in table if not name.startswith("params_")]
    assert [empty.field(name).type for name in fixed] == [full.field(name).type for name in fixed]
    kinds = {name: str(full.field(name).type) for name in ("number", "seed", "asr", "host")}
    assert kinds == {"number": "int64", "seed": "int64", "asr": "double", "host": "string"}
    assert str(full.field("params_distil").type) == "bool"
    assert pd.read_parquet(tmp_path / "full.parquet")["seed"].tolist() == [2**63 - 25] * 3


def test_whole_numbers_stay_whole_beside_a_trial_that_was_lost_before_it_had_any(tmp_path: Path) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.add_trial(trial(TrialState.COMPLETE, {"distil": True, "cutout": 3}))
    study.add_trial(create_trial(state=TrialState.FAIL))
    table = trials_table(study)
    write_table(tmp_path / "trials.csv", table)
    write_parquet(tmp_path / "t.parquet", table)
    read = read_trials(tmp_path / "trials.csv")
    assert [(name, type(value)) for name, value in read["params"][0].items()] == [("cutout", int), ("distil", bool)]
    assert read["params"][1] == {}
    assert str(2**63 - 25) in (tmp_path / "trials.csv").read_text()
    parquet = pq.read_table(tmp_path / "t.parquet").to_pydict()
    assert (parquet["params_cutout"], parquet["seed"]) == ([3, None], [2**63 - 25, None])


def test_values_of_several_kinds_become_text(table: pd.DataFrame, tmp_path: Path) -> None:
    write_parquet(tmp_path / "t.parquet", table)
    assert pd.read_parquet(tmp_path / "t.parquet")["params_mixed"].tolist()[:2] == ["3", "three"]


def test_a_table_is_its_owners_alone(table: pd.DataFrame, tmp_path: Path) -> None:
    write_parquet(tmp_path / "t.parquet", table)
    assert stat.S_IMODE((tmp_path / "t.parquet").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_a_table_that_cannot_be_written_is_one_sentence(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(NadError, match=r"cannot write .*; free some space or choose another --output"):
        write_parquet(tmp_path / "nowhere" / "t.parquet", table)


def study_of(finished_after: list[int], best: int) -> optuna.Study:
    """Trials by their minute of finishing; the one that was `best`-th to finish is far better than the others."""
    study = optuna.create_study(directions=["minimize", "maximize"])
    for minute in finished_after:
        frozen = trial(TrialState.COMPLETE, {"x": minute})
        frozen.values = [0.1, 0.9] if minute == best else [0.5, 0.5]
        frozen.datetime_start = datetime(2026, 1, 1)
        frozen.datetime_complete = datetime(2026, 1, 1) + timedelta(minutes=minute)
        study.add_trial(frozen)
    return study


def test_search_is_judged_by_the_order_in_which_its_trials_finished() -> None:
    backwards = list(range(34, 0, -1))
    assert converged(study_of(backwards, best=2)).settings == 34
    assert converged(study_of(backwards, best=33)) is None


def test_study_that_goes_on_or_has_all_its_trials_has_not_stopped_by_itself() -> None:
    study = study_of(list(range(34)), best=2)
    assert "after 34 settings" in stopped(study, wanted=60)
    assert stopped(study, wanted=34) is None
    study.add_trial(trial(TrialState.PRUNED, {}))
    assert stopped(study, wanted=35) is None, "a pruned trial is one of those that were wanted"
    study.ask()
    assert stopped(study, wanted=60) is None

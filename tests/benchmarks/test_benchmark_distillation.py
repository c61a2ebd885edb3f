from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.distillation import SETTINGS, TWIN, table


@pytest.fixture
def runs() -> pd.DataFrame:
    """Two victims, three defenders each; each setting leaves a point less than the one before, of ASR and ACC."""
    rows = [
        {"seed": seed, "draw": draw, "epochs": epochs, "betas": name, "asr": 0.5 + seed / 10 - place / 100, "acc": 0.8}
        for seed in (0, 1)
        for draw in (1, 2, 3)
        for place, (epochs, name) in enumerate(SETTINGS)
    ]
    return pd.DataFrame(rows)


def test_each_setting_is_compared_with_its_twin(runs: pd.DataFrame) -> None:
    found = table(runs)
    assert list(found.index) == SETTINGS
    assert found["asr added"].iloc[:4].tolist() == [0.0, -1.0, -2.0, -3.0]
    assert found.loc[SETTINGS[1], "asr"] == 54.0
    assert found.loc[SETTINGS[1], "lower asr than its twin"] == 6


def test_runs_that_diverged_are_not_counted(runs: pd.DataFrame) -> None:
    short, name = SETTINGS[2]
    lost = (runs["betas"] == name) & (runs["epochs"] == short) & (runs["draw"] > 1)
    runs.loc[lost, ["asr", "acc"]] = None
    found = table(runs)
    assert found.loc[(short, name), "runs"] == 2
    assert found.loc[(short, TWIN), "runs"] == 6

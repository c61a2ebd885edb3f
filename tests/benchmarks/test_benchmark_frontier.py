"""The replay of a recorded study, on a small made-up record."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial, TrialState

import search_spaces
from benchmarks import frontier
from benchmarks.frontier import Arguments, growth, reached, recommended, replay
from benchmarks.recorded import RECORDED, Table, distances, place, read_table
from nad.models import distillation_layers
from reports.analysis.frontier import hypervolume
from reports.trial_table import NUMBERS, TEXTS
from search_spaces import Domain
from study.search.samplers import SAMPLERS, make_sampler
from study.search.warm_start import coordinates

SPACE = search_spaces.get("nad-published")
LAYERS = distillation_layers("wrn-16-1")
DOMAIN = Domain(LAYERS, (0.05, 0.1), dict.fromkeys(LAYERS, 1.0))
CONTROLS = [
    (name, params) for name, point in SPACE.controls(DOMAIN) if (params := coordinates(point, SPACE, DOMAIN)[0])
]
RANDOM_POINTS = 15
VICTIM_ACC, MAX_ACC_DROP = 0.8, 0.1


def made_up(path: Path) -> Path:
    """The record of a study: its controls, then random points with random scores; returns its table."""
    points: list[tuple[str, dict[str, Any]]] = [(name, dict(params)) for name, params in CONTROLS]
    study = optuna.create_study(sampler=RandomSampler(seed=7))
    for _ in range(RANDOM_POINTS):
        trial = study.ask()
        SPACE.suggest(trial, DOMAIN)
        points.append(("", trial.params))
    rng = np.random.default_rng(3)
    rows = [
        {
            **dict.fromkeys((*NUMBERS, *TEXTS), ""),
            "number": number,
            "setting": number,
            "draw": 0,
            "state": "COMPLETE",
            "control": control,
            "compute_seconds": 10.0 + number,
            **dict(zip(("asr", "acc"), rng.random(2).round(3), strict=True)),
            **{f"params_{name}": value for name, value in params.items()},
        }
        for number, (control, params) in enumerate(points)
    ]
    rows.append({**rows[-1], "number": len(rows), "state": "FAIL", "asr": "", "acc": ""})
    pd.DataFrame(rows).to_csv(path / "trials.csv", index=False)
    settings = {"space": "nad", "model": None, "clean_fractions": [0.1, 0.05]}
    (path / "config.json").write_text(json.dumps({"settings": settings}))
    (path / "summary.json").write_text(
        json.dumps({"model": "wrn-16-1", "victim": {"acc": VICTIM_ACC}, "max_acc_drop": MAX_ACC_DROP})
    )
    return path / "trials.csv"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up(tmp_path_factory.mktemp("record"))


@pytest.fixture(scope="module")
def table(path: Path) -> Table:
    return read_table(path)


@pytest.mark.parametrize("name", sorted(SAMPLERS.keys() - {"gp"}))  # a second for each proposal
def test_replay_of_all_rows_ends_at_the_tables_hypervolume(table: Table, name: str) -> None:
    found = replay(table, make_sampler(name, 0), len(table.params))
    assert sorted(found.rows) == list(range(len(table.params)))
    curve = growth(table.costs[found.rows])
    assert curve[-1] == pytest.approx(hypervolume(table.costs))
    assert (np.diff(curve) >= 0).all()
    assert curve[4] == pytest.approx(hypervolume(table.costs[found.rows[:5]]))


def test_controls_come_first_and_failed_trials_never(table: Table) -> None:
    controls = len(CONTROLS)
    assert table.controls == list(range(controls))
    assert len(table.params) == controls + RANDOM_POINTS
    assert replay(table, make_sampler("random", 1), 6).rows[:controls] == table.controls


class Stubborn(RandomSampler):
    """Sampler of one point; it remembers its study."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__(seed=0)
        self.params = params
        self.study: optuna.Study | None = None

    def sample_independent(self, study: optuna.Study, trial: Any, param_name: str, param_distribution: Any) -> Any:
        self.study = study
        return self.params[param_name]


def test_proposal_is_answered_by_its_nearest_unused_rows_in_turn(table: Table) -> None:
    wanted = 11
    found = replay(table, Stubborn(table.params[wanted]), len(table.params)).rows[len(table.controls) :]
    assert found[0] == wanted
    by_hand = {row: gower(table.params[wanted], table.params[row]) for row in found}
    assert found == sorted(found, key=lambda row: (by_hand[row], row))


def gower(one: dict[str, Any], other: dict[str, Any]) -> float:
    """As the benchmark's docstring says, spelled out for the space `nad`."""
    total = 0.0
    for name in one.keys() | other.keys():
        if name not in one or name not in other:
            total += 1
        elif name.startswith("beta_"):
            total += abs(math.log(one[name]) - math.log(other[name])) / math.log(100)
        elif name == "epochs":
            total += abs(math.log(one[name]) - math.log(other[name])) / math.log(10)
        else:
            total += one[name] != other[name]
    return total


def test_distance_of_a_layer_that_only_one_distils(table: Table) -> None:
    code = dict(next(params for name, params in CONTROLS if name == "nad-code"))
    without = {**{key: value for key, value in code.items() if key != "beta_group3"}, "distil_group3": False}
    stronger = {**code, "beta_group1": code["beta_group1"] * 10}
    others = np.array([place(params, table.whole_space) for params in (code, without, stronger)])
    here = place(code, table.whole_space)
    assert distances(here, others, table.choices) == pytest.approx([0, 2, 0.5])


def test_sampler_is_told_what_is_on_record_with_the_constraint(table: Table) -> None:
    sampler = Stubborn(table.params[9])
    rows = replay(table, sampler, 8).rows
    assert sampler.study is not None
    told = sampler.study.get_trials(states=(TrialState.COMPLETE,))
    for row, trial in zip(rows, told, strict=True):
        assert trial.params == table.params[row]
        assert SPACE.suggest(FixedTrial(trial.params), DOMAIN) is not None
        assert trial.values == list(table.scores[row])
        assert trial.constraints == {"acc_drop": pytest.approx(VICTIM_ACC - trial.values[1] - MAX_ACC_DROP)}


def test_generations_of_a_genetic_sampler_go_on(table: Table) -> None:
    """NSGA-II keeps a trial's generation in its record: with it lost, every generation would be the first."""
    seen: list[int] = []

    class Spy(optuna.samplers.NSGAIISampler):
        def sample_relative(self, study: optuna.Study, trial: Any, search_space: Any) -> Any:
            seen.append(self.get_trial_generation(study, trial))
            return super().sample_relative(study, trial, search_space)

    replay(table, Spy(seed=0, population_size=4), len(table.params))
    assert max(seen) >= 2


def test_target_is_timed_by_the_first_trial_that_reaches_it() -> None:
    curve = np.array([0.1, 0.4, 0.4, 0.6])
    assert [reached(curve, target) for target in (0.1, 0.4, 0.5, 0.7)] == [1, 2, 4, math.inf]


def test_recommended_trial_is_the_lowest_asr_that_keeps_enough_accuracy(table: Table) -> None:
    rows = replay(table, make_sampler("random", 2), len(table.params)).rows
    lowest = recommended(table, rows)
    allowed = [asr for asr, acc in table.scores if acc >= VICTIM_ACC - MAX_ACC_DROP]
    assert 0 < len(allowed) < len(rows)
    assert lowest[-1] == min(allowed)
    first = next(at for at, row in enumerate(rows) if table.scores[row, 1] >= VICTIM_ACC - MAX_ACC_DROP)
    assert np.isinf(lowest[:first]).all()
    assert lowest[first] == table.scores[rows[first], 0]


def test_last_line_is_the_same_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert frontier.main(Arguments(table=path, seeds=3, trials=12, samplers=("tpe",))) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert list(found["samplers"]) == ["random", "tpe", "tpe, no floor"]
    assert found["samplers"]["tpe"]["hypervolume"].keys() == {"10"}
    for name, figures in found["samplers"].items():
        row = next(line for line in lines if line.startswith(f"{name}  "))
        assert all(f"{value:.4f}" in row for value in figures["hypervolume"]["10"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"trials": 60}, "--trials 60 is out of range; give 1 to 19"),
        ({"table": Path("nowhere/trials.csv")}, "'nowhere/trials.csv' cannot be read"),
        ({"samplers": ("tpo",), "trials": 5}, "unknown sampler 'tpo'; did you mean 'tpe'"),
    ],
)
def test_mistakes_end_in_one_sentence(
    path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], sentence: str
) -> None:
    assert frontier.main(Arguments(**{"table": path, "seeds": 1, **settings})) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_the_recorded_table_can_be_replayed() -> None:
    table = read_table(RECORDED)
    assert (len(table.params), len(table.controls)) == (320, 4)
    assert len(replay(table, make_sampler("tpe", 0), 12).rows) == 12

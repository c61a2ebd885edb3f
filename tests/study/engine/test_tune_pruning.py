"""Trials that are stopped early, with real Ray and a real SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import wait_until
from toy_engine import SLOTS, above_half, epochs, open_toy, searcher_of, states

from reports.analysis.frontier import front_order
from reports.analysis.objectives import costs
from study.engine import tune
from study.record.exports import trials_table
from study.search.queue import enqueue

WANTED = 24


class Ran:
    """A study that stops every other trial after three of ten epochs; a control that would be stopped comes first."""

    def __init__(self, folder: Path) -> None:
        self.left = folder / "left"
        self.left.mkdir()
        self.study = open_toy(folder)
        enqueue(self.study, {"x": 0.95}, {"control": "nad-paper"})
        searcher = searcher_of(self.study, wanted=WANTED, pruner=above_half)
        tune.run_trials(epochs, searcher, payload=self.left, slots=SLOTS)
        self.trials = self.study.trials
        self.pruned = [trial for trial in self.trials if trial.state.name == "PRUNED"]
        self.complete = [trial for trial in self.trials if trial.state.name == "COMPLETE"]


@pytest.fixture(scope="module")
def ran(ray_started: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("pruned"))


def test_hopeless_trials_end_pruned_and_count_as_wanted(ran: Ran) -> None:
    assert states(ran.study) == {"COMPLETE": len(ran.complete), "PRUNED": len(ran.pruned)}
    assert len(ran.trials) == WANTED
    assert len(ran.pruned) > 5
    assert {trial.number for trial in ran.pruned} == {
        trial.number for trial in ran.trials if trial.params["x"] > 0.5 and "control" not in trial.user_attrs
    }


def test_control_runs_to_its_end_whatever_it_shows(ran: Ran) -> None:
    assert (ran.trials[0].state.name, len(ran.trials[0].user_attrs["curve"])) == ("COMPLETE", 10)


def test_pruned_trial_keeps_what_it_showed_and_says_why(ran: Ran) -> None:
    for trial in ran.pruned:
        x = trial.params["x"]
        shown = [(entry["epoch"], entry["asr"], entry["acc"]) for entry in trial.user_attrs["curve"]]
        assert shown == [(1, x, 1 - x), (2, x, 1 - x), (3, x, 1 - x)]
        assert trial.user_attrs["error"] == "x is too large"
        assert trial.user_attrs["host"]
        assert trial.values is None
    row = trials_table(ran.study).set_index("number").loc[ran.pruned[0].number]
    assert (row.state, row.error, row.curve.count("[")) == ("PRUNED", "x is too large", 4)
    assert row.asr is None


def test_pruned_trials_are_not_on_the_front(ran: Ran) -> None:
    rows = trials_table(ran.study)
    complete = rows[rows.state == "COMPLETE"]
    front = set(complete.number.iloc[front_order(costs(complete[["asr", "acc"]].to_numpy(dtype=float)))])
    assert front
    assert not front & {trial.number for trial in ran.pruned}


def test_worker_of_a_stopped_trial_takes_the_next_one(ran: Ran) -> None:
    assert len({trial.user_attrs["pid"] for trial in ran.complete}) <= SLOTS
    wait_until(lambda: len(list(ran.left.iterdir())) == WANTED)  # every trial has left its function
    assert len({path.name.split()[1] for path in ran.left.iterdir()}) <= SLOTS


def test_stopped_trial_leaves_nothing_in_its_worker(ran: Ran) -> None:
    assert {trial.user_attrs["alive"] for trial in ran.complete} == {1}

"""The engine with real Ray and a real SQLite file."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import ray
from processes import alive, wait_until
from toy_engine import (
    SLOTS,
    climb,
    die,
    diverge,
    hang,
    meet,
    open_toy,
    searcher_of,
    slow,
    square,
    states,
    toy,
)

from nad.errors import ConfigError, EraseDiverged, NadError
from study.engine import session, tasks, tune
from study.engine.code import digest
from study.engine.meter import Meter, teller
from study.record.exports import converged
from study.search.queue import DIVERGED
from study.search.trial_event import TrialEvent
from study.signals import Interrupted


class Ran:
    """A study of 12 wanted trials, some of which fail, each in its own way."""

    def __init__(self, folder: Path) -> None:
        self.plan = {1: "nan", 2: "raise", 3: "return", 4: "diverge", 5: "die", 6: "print"}
        self.study = open_toy(folder)
        self.complete_at: list[float] = []
        searcher = searcher_of(self.study, wanted=12, on_event=self.observe)
        big = np.zeros((20_000, 3, 32, 32), dtype=np.uint8)
        self.start = time.perf_counter()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            tune.run_trials(toy, searcher, payload={"plan": self.plan, "images": big}, slots=SLOTS)
        self.printed = printed.getvalue()
        self.trials = self.study.trials

    def observe(self, event: TrialEvent) -> None:
        if event.kind == "complete":
            self.complete_at.append(time.perf_counter())


@pytest.fixture(scope="module")
def ran(ray_started: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("ran"))


def test_wanted_number_is_complete_despite_failures(ran: Ran) -> None:
    assert states(ran.study) == {"COMPLETE": 12, "FAIL": 5}


def test_what_a_trial_prints_and_warns_of_comes_home_with_it(ran: Ran) -> None:
    printed = {trial.number: trial.user_attrs["printed"] for trial in ran.trials if "printed" in trial.user_attrs}
    assert list(printed) == [6]
    assert printed[6].startswith("said by a trial\n")
    assert "UserWarning: careful" in printed[6]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ("nan", "the final report is not finite: acc = nan"),
        ("raise", "ValueError: this trial's own mistake"),
        ("return", "the trial returned without a final report"),
        ("diverge", "the loss is no longer finite in epoch 2"),
        ("die", "its process was killed or crashed, most often for want of memory; lower --workers"),
    ],
)
def test_failure_is_recorded_with_its_reason(ran: Ran, plan: str, reason: str) -> None:
    (number,) = (number for number, name in ran.plan.items() if name == plan)
    trial = ran.trials[number]
    assert trial.state.name == "FAIL"
    assert trial.user_attrs["error"].startswith(reason)
    assert ("in toy" in trial.user_attrs.get("traceback", "")) == (plan == "raise")
    assert trial.user_attrs.get(DIVERGED, False) == (plan == "diverge")


def test_point_of_a_killed_worker_runs_again(ran: Ran) -> None:
    (again,) = (trial for trial in ran.trials if trial.user_attrs.get("retry"))
    assert again.state.name == "COMPLETE"
    assert again.params == ran.trials[5].params
    assert again.user_attrs["seed"] == ran.trials[5].user_attrs["seed"]


def test_trial_is_one_thread_in_the_drivers_folder(ran: Ran) -> None:
    attrs = ran.trials[-1].user_attrs
    assert attrs["threads"] == 1
    assert attrs["folder"] == os.getcwd()
    assert attrs["curve"][0]["epoch"] == 1
    assert attrs["host"]
    assert attrs["code"] == digest()


def test_engine_prints_nothing_even_when_trials_fail(ran: Ran) -> None:
    assert ran.printed == ""


@pytest.mark.parametrize("first", ["study.engine.nodes", "study.engine.lifeline"])
def test_ray_finds_its_settings_whichever_module_imports_it_first(first: str) -> None:
    """Ray reads some of them once, when it is imported; this one keeps it from printing what the record has."""
    look = (
        f"import {first}; from ray._private.ray_logging import stderr_deduplicator; print(stderr_deduplicator.skip_re)"
    )
    process = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=120)
    assert process.stdout == "re.compile('.')\n"


def test_worker_processes_are_reused(ran: Ran) -> None:
    complete = [trial.user_attrs["pid"] for trial in ran.trials if trial.state.name == "COMPLETE"]
    assert len(set(complete)) <= 1 + SLOTS + 2, "two trials cost their process; the rest share theirs"
    gaps = np.diff(ran.complete_at)
    print(
        f"\nfirst trial after {ran.complete_at[0] - ran.start:.1f} s; median overhead per trial {np.median(gaps):.3f} s"
    )
    assert np.median(gaps) < 1.5, "a new process per trial takes longer"


def test_as_many_trials_run_at_once_as_there_are_processors_and_the_budget_keeps_them(
    ray_started: None, tmp_path: Path
) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    study = open_toy(tmp_path)
    searcher = searcher_of(study, wanted=60, deadline=time.monotonic() + 1)  # over before a worker has started
    tune.run_trials(meet, searcher, payload=meeting, slots=9)
    assert states(study) == {"COMPLETE": SLOTS}


def test_second_interrupt_stops_at_once_and_leaves_the_record_in_order(ray_started: None, tmp_path: Path) -> None:
    study = open_toy(tmp_path)
    sent = []

    def interrupt(event: TrialEvent) -> None:
        if event.number == 2:
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as caught:
        tune.run_trials(
            slow, searcher_of(study, wanted=9, on_event=interrupt), payload=(1, tmp_path / "go"), slots=SLOTS
        )
    assert time.perf_counter() - sent[0] < 5
    assert caught.value.exit_code == 143
    found = states(study)
    assert found["COMPLETE"] >= 1
    assert found["FAIL"] == found["WAITING"]
    assert "RUNNING" not in found
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    wait_until(lambda: session.ray.available_resources().get("CPU") == SLOTS)


def test_first_interrupt_starts_nothing_and_lets_running_trials_finish(ray_started: None, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    study, said, lock = open_toy(tmp_path), [], threading.Lock()

    def say() -> None:
        with lock:  # as a display has, and no pickle
            said.append(states(study))

    def interrupt(event: TrialEvent) -> None:
        if event.kind == "started" and event.number == 1:
            os.kill(os.getpid(), signal.SIGHUP)

    with pytest.raises(Interrupted) as caught:
        tune.run_trials(
            meet,  # neither ends before both run
            searcher_of(study, wanted=9, on_event=interrupt),
            payload=meeting,
            slots=SLOTS,
            on_interrupt=say,
        )
    assert caught.value.exit_code == 129
    assert said == [{"RUNNING": 2}]
    assert states(study) == {"COMPLETE": 2}


def test_trial_that_hangs_is_ended_and_asked_again_once(ray_started: None, tmp_path: Path) -> None:
    study = open_toy(tmp_path)
    searcher = searcher_of(study, wanted=3)
    tune.run_trials(hang, searcher, payload=tmp_path, slots=SLOTS, trial_timeout=4)
    searcher.close()
    failed = [trial for trial in study.trials if trial.state.name == "FAIL"]
    assert states(study) == {"COMPLETE": 3, "FAIL": 2}
    assert failed[0].params == failed[1].params
    assert {trial.user_attrs["error"] for trial in failed} == {
        "it ran longer than --trial-timeout allows (4 s), and was ended"
    }
    hung = {int(path.name) for path in tmp_path.glob("[0-9]*")}
    assert len(hung) == 2
    wait_until(lambda: not alive(hung), seconds=10)
    wait_until(lambda: session.ray.available_resources().get("CPU") == SLOTS)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_wall_clock_that_jumps_changes_nothing(
    ray_started: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    study, wall = open_toy(tmp_path), time.time
    seen = []

    def jumps(event: TrialEvent) -> None:
        seen.append(event.number)
        monkeypatch.setattr(time, "time", lambda: wall() + jump)

    searcher = searcher_of(study, wanted=6, on_event=jumps, deadline=time.monotonic() + 3600)
    tune.run_trials(toy, searcher, payload={"plan": {}}, slots=SLOTS, trial_timeout=3600)
    assert seen
    assert states(study) == {"COMPLETE": 6}
    assert all(0 <= trial.user_attrs["seconds"] < 600 for trial in study.trials)


def test_mistake_of_the_space_comes_home_as_it_is(ray_started: None, tmp_path: Path) -> None:
    def broken(trial: optuna.Trial) -> dict[str, Any]:
        raise ConfigError("betas must be positive, got -1")

    study = open_toy(tmp_path)
    with pytest.raises(ConfigError, match="betas must be positive, got -1"):
        tune.run_trials(toy, searcher_of(study, wanted=2, space=broken), payload={"plan": {}}, slots=SLOTS)
    assert states(study) == {"FAIL": 1}


def test_trial_larger_than_any_node_is_refused_at_once(ray_started: None, tmp_path: Path) -> None:
    study = open_toy(tmp_path)
    with pytest.raises(ConfigError, match=r"asks for 64 CPUs and 0 GPUs, .* largest node has 2 CPUs and 0 GPUs; lower"):
        tune.run_trials(toy, searcher_of(study, wanted=1), slots=SLOTS, cpus_per_trial=64)
    with pytest.raises(ConfigError, match=r"0\.5 GPUs"):
        tasks.run_tasks(square, [1], gpus=0.5)
    assert states(study) == {}


def test_slots_are_counted_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 3.0, "GPU": 1.0}, {"CPU": 8.0}]
    monkeypatch.setattr(session.ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    assert tasks.available_slots(2) == 2 + 1 + 4
    assert tasks.available_slots(1, 1) == 2
    assert tasks.available_slots(0.1, 0.1) == 20


def test_tasks_share_a_read_only_payload_and_keep_their_order(ray_started: None) -> None:
    ended = []
    payload = {"zeros": np.zeros(1_000_000, dtype=np.uint8)}
    results = tasks.run_tasks(square, [0, 1, 2], payload=payload, on_done=lambda index, result: ended.append(index))
    assert results == [(0, False), (1, False), (4, False)]
    assert sorted(ended) == [0, 1, 2]


def test_long_tasks_say_how_far_they_are(ray_started: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LONG", 0.0)
    heard: list[tuple[float, ...]] = []

    def on_progress(running: Sequence[float]) -> None:
        heard.append(tuple(running))
        if (0.5, 0.25) in heard:
            for part in running:
                (tmp_path / f"{part:g}").touch()

    assert tasks.run_tasks(climb, [2, 4], payload=tmp_path, on_progress=on_progress) == [2, 4]
    assert {0.25, 0.5, 0.75, 1.0} == {part for running in heard for part in running}
    assert all(earlier != later for earlier, later in itertools.pairwise(heard)), "only what is new"


def test_short_tasks_cost_no_meter(ray_started: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LONG", 60.0)  # a busy machine may take long for the shortest
    monkeypatch.setattr(Meter, "open", lambda self: pytest.fail("a process for tasks that are over at once"))
    payload = {"zeros": np.zeros(1)}
    assert len(tasks.run_tasks(square, [0, 1], payload=payload, on_progress=lambda running: None)) == 2


def test_meter_that_is_lost_ends_nothing(ray_started: None) -> None:
    meter = Meter()
    meter.open()
    teller(meter.name, 3)(1, 4)
    wait_until(lambda: meter.read() == {3: (1, 4)}, seconds=60)
    ray.kill(ray.get_actor(meter.name))
    wait_until(lambda: meter.read() == {}, seconds=60)
    teller(meter.name, 3)(2, 4)


def test_meter_ends_with_its_driver_s_interest(ray_started: None) -> None:
    meter = Meter()
    meter.open()
    name = meter.name
    assert ray.get_actor(name)
    del meter
    wait_until(lambda: name not in ray.util.list_named_actors(), seconds=60)


def test_error_of_a_task_comes_home_as_it_was_raised(ray_started: None) -> None:
    with pytest.raises(EraseDiverged, match=r"^teacher 1 diverged$") as caught:
        tasks.run_tasks(diverge, [0, 1])
    assert type(caught.value) is EraseDiverged
    assert "in diverge" in str(caught.value.__cause__), "the remote traceback"


def test_task_whose_process_dies_is_one_sentence(ray_started: None) -> None:
    with pytest.raises(NadError, match=r"^a worker process was lost: .* killed or crashed, .*; lower --workers"):
        tasks.run_tasks(die, [0])


def test_search_stops_by_itself_when_its_front_has_stopped_growing(ray_started: None, tmp_path: Path) -> None:
    """Every point of the toy is on one curve that its best point dominates, so a plateau comes soon."""
    study = open_toy(tmp_path)

    def run(wanted: int, **settings: Any) -> int:
        tune.run_trials(toy, searcher_of(study, wanted, **settings), payload={"plan": {}}, slots=SLOTS)
        return states(study)["COMPLETE"]

    def enough() -> bool:
        return converged(study) is not None

    first = run(200, enough=enough)
    assert 30 <= first < 200
    assert converged(study).settings == first
    assert states(study) == {"COMPLETE": first}
    assert run(200, enough=enough) == first
    assert run(first + 3) == first + 3

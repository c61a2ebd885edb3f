"""The driver as others see it: what it opens to the network, and what it leaves when it is killed or interrupted."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from processes import alive, command_of, listening_addresses, processes_below, wait_until
from toy_engine import (
    IMPORTABLE,
    SLOTS,
    open_toy,
    searcher_of,
    square,
    states,
    toy,
)

from nad.errors import NadError
from study.engine import session, tasks, tune


def test_embedded_ray_listens_on_the_loopback_only(ray_started: None) -> None:
    tasks.run_tasks(square, range(SLOTS), payload={"zeros": np.zeros(1)})  # so that workers run, too
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    family = processes_below(os.getpid())
    assert len(family) > 3
    addresses = listening_addresses(family)
    assert addresses
    assert addresses <= loopback


def test_token_of_a_cluster_is_not_given_to_the_study_s_own_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever uses that cluster holds it, too."""
    seen = []

    def init(**_options: object) -> None:
        seen.append(os.environ["RAY_AUTH_TOKEN"])
        raise RuntimeError("far enough")

    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-the-cluster")
    not_running = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setattr(session, "ray", not_running)
    with pytest.raises(NadError, match="far enough"), session.ray_session(cpus=1):
        pass
    assert len(seen[0]) == 64
    assert os.environ["RAY_AUTH_TOKEN"] == "of-the-cluster"


def test_token_is_asked_for_and_not_written_down(ray_started: None) -> None:
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) >= 32
    assert not (Path.home() / ".ray").exists()
    commands = "".join(command_of(pid) for pid in processes_below(os.getpid()))
    assert "gcs_server" in commands
    assert os.environ["RAY_AUTH_TOKEN"] not in commands


# the driver's end


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """For a driver's temporary files; pytest's own path is too long for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def start_driver(
    folder: Path, tmp: Path, drive: str = "drive", *, terminal: int | None = None
) -> subprocess.Popen[str]:
    """terminal: its end of a terminal that it reads from and writes to; else pipes."""
    code = f"import toy_engine, pathlib; toy_engine.{drive}(pathlib.Path({str(folder)!r}))"
    return subprocess.Popen(  # of its own session: Ctrl-C goes to a whole process group
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": IMPORTABLE, "TMPDIR": str(tmp)},
        stdin=terminal,
        stdout=subprocess.PIPE if terminal is None else terminal,
        stderr=subprocess.PIPE if terminal is None else terminal,
        text=True,
        start_new_session=True,
    )


def wait_until_two_run(study: optuna.study.Study, process: subprocess.Popen[str]) -> None:
    ready = {"COMPLETE": 3, "RUNNING": 2}
    try:
        wait_until(lambda: states(study) == ready or process.poll() is not None, seconds=120)
    finally:
        if states(study) != ready:
            process.kill()
            pytest.fail(process.communicate()[1])


def test_killed_driver_loses_nothing_that_was_finished(ray_started: None, tmp_path: Path, short_tmp: Path) -> None:
    study = open_toy(tmp_path)
    process = start_driver(tmp_path, short_tmp)
    wait_until_two_run(study, process)
    family = {
        pid for pid in processes_below(process.pid) if "Agent" not in command_of(pid)
    }  # Ray's take a minute to go
    before = study.trials
    process.kill()
    output = process.communicate()
    study = open_toy(tmp_path)
    tune.run_trials(toy, searcher_of(study, wanted=8), payload={"plan": {}}, slots=SLOTS)
    assert output == ("", ""), "a driver is silent"
    assert states(study) == {"COMPLETE": 8, "FAIL": 2}
    after = study.trials
    finished = [trial.number for trial in before if trial.state.name == "COMPLETE"]
    assert [after[number] for number in finished] == [before[number] for number in finished]
    in_flight = [trial.params for trial in before if trial.state.name == "RUNNING"]
    assert [trial.params for trial in after[5:7]] == in_flight
    assert [trial.user_attrs.get("control") for trial in after].count("fine-tuning") == 1
    wait_until(lambda: not alive(family))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_terminal_s_signals_let_the_running_trials_finish(
    tmp_path: Path, short_tmp: Path, number: signal.Signals
) -> None:
    """They go to the whole process group: to Ray's processes, too."""
    study = open_toy(tmp_path)
    process = start_driver(tmp_path, short_tmp)
    wait_until_two_run(study, process)
    os.killpg(process.pid, number)
    assert process.stdout is not None
    assert process.stdout.readline() == "finishing\n"
    (tmp_path / "go").touch()
    _, err = process.communicate(timeout=60)
    assert err.strip().splitlines()[-1].startswith("study.signals.Interrupted")
    assert states(study) == {"COMPLETE": 5}


@pytest.mark.slow
def test_closed_terminal_lets_the_running_trials_finish(tmp_path: Path, short_tmp: Path) -> None:
    """Whatever is shown then meets an error, which a pipe whose reader is there does not."""
    study = open_toy(tmp_path)
    terminal, inside = pty.openpty()
    os.set_blocking(terminal, False)
    process = start_driver(tmp_path, short_tmp, "drive_in_terminal", terminal=inside)
    os.close(inside)

    def two_run() -> bool:
        with suppress(BlockingIOError):
            while os.read(terminal, 4096):  # or the terminal is full, and the driver waits
                pass
        return states(study) == {"COMPLETE": 3, "RUNNING": 2}

    try:
        wait_until(two_run, seconds=120)
        os.close(terminal)
        wait_until((tmp_path / "told").exists)
        (tmp_path / "go").touch()
        assert process.wait(timeout=60) == 129
    finally:
        process.kill()
    assert states(study) == {"COMPLETE": 5}


def test_driver_interrupted_twice_cleans_up_after_itself(tmp_path: Path, short_tmp: Path) -> None:
    study = open_toy(tmp_path)
    process = start_driver(tmp_path, short_tmp)
    wait_until_two_run(study, process)
    family = processes_below(process.pid)
    assert {entry.stat().st_mode & 0o777 for entry in short_tmp.iterdir()} == {0o700}
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "finishing\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out == ""
    assert err.strip().splitlines()[-1].startswith("study.signals.Interrupted")
    assert states(study) == {"COMPLETE": 3, "FAIL": 2, "WAITING": 2}
    assert not list(short_tmp.iterdir())
    assert not alive(family)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process_name", "lost"), [("gcs_server", "Ray's head node"), ("raylet", "Ray on this machine")]
)
def test_lost_ray_is_one_sentence_and_the_record_is_in_order(
    tmp_path: Path, short_tmp: Path, process_name: str, lost: str
) -> None:
    study = open_toy(tmp_path)
    process = start_driver(tmp_path, short_tmp)
    wait_until_two_run(study, process)
    family = processes_below(process.pid)
    (needed,) = (pid for pid in family if f"/{process_name}\0" in command_of(pid))
    os.kill(needed, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"study.engine.lifeline.RayLost: {lost} no longer answers")
    assert states(study) == {"COMPLETE": 3, "FAIL": 2, "WAITING": 2}
    assert not list(short_tmp.iterdir())
    wait_until(lambda: not alive(family), seconds=120)  # Ray's agents go a minute after what they belong to


@pytest.mark.slow
def test_ray_that_is_lost_while_a_victim_trains_is_one_sentence(tmp_path: Path, short_tmp: Path) -> None:
    process = start_driver(tmp_path, short_tmp, "drive_training")
    wait_until(lambda: (tmp_path / "napping").exists() or process.poll() is not None, seconds=120)
    family = processes_below(process.pid)
    (head,) = (pid for pid in family if "/gcs_server\0" in command_of(pid))
    os.kill(head, signal.SIGKILL)
    out, err = process.communicate(timeout=50)  # Ray ends a process that has lost its head node after 60
    assert out == ""
    assert "\nstudy.engine.lifeline.RayLost: Ray's head node no longer answers" in err
    wait_until(lambda: not alive(family), seconds=120)  # Ray's agents go a minute after what they belong to


@pytest.mark.slow
def test_ray_that_is_lost_while_the_last_trials_finish_is_no_news(tmp_path: Path, short_tmp: Path) -> None:
    """As where SIGTERM goes to all processes of a job: the study was told to end, and does."""
    study = open_toy(tmp_path)
    process = start_driver(tmp_path, short_tmp)
    wait_until_two_run(study, process)
    family = processes_below(process.pid)
    (head,) = (pid for pid in family if "/gcs_server\0" in command_of(pid))
    os.kill(process.pid, signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "finishing\n"
    os.kill(head, signal.SIGKILL)
    out, err = process.communicate(timeout=50)  # Ray ends a process that has lost its head node after 60
    assert out == ""
    assert "\nstudy.signals.Interrupted: " in err
    assert states(study) == {"COMPLETE": 3, "FAIL": 2, "WAITING": 2}
    assert not list(short_tmp.iterdir())
    wait_until(lambda: not alive(family), seconds=120)  # Ray's agents go a minute after what they belong to


@pytest.mark.slow
def test_sigterm_ends_tasks_at_once_and_in_order(tmp_path: Path, short_tmp: Path) -> None:
    """Ray sets a handler of its own for it, which ends the process without a word."""
    process = start_driver(tmp_path, short_tmp, "drive_tasks")
    wait_until((tmp_path / "napping").exists)
    family = processes_below(process.pid)
    process.terminate()
    out, err = process.communicate(timeout=50)
    assert out == ""
    assert err.strip().splitlines()[-1].startswith("study.signals.Interrupted")
    assert not list(short_tmp.iterdir())
    wait_until(lambda: not alive(family), seconds=120)  # Ray's agents go a minute after what they belong to

"""Looking at a study while a real driver runs it, and stopping it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import alive, processes_below, wait_until
from toy_driver import SCORING, WANTED
from toy_engine import DRIVER, IMPORTABLE, SLOTS

from study import __main__ as command
from study.record.driver import driver_of


@contextmanager
def running(output):
    """A driver whose first trials scored, and whose next ones wait for the file `go`."""
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), str(output / "s")],
        env={**os.environ, "PYTHONPATH": IMPORTABLE},
    )
    try:
        wait_until(lambda: process.poll() is not None or counts(output) == (SCORING, SLOTS))
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    output = tmp_path_factory.mktemp("running")
    with running(output) as process:
        yield process, output


def start(name, output, *options):
    """The command in another process, as in another terminal."""
    words = [name, *(["s"] if name != "list" else []), "--output", str(output), *options]
    return subprocess.Popen(
        [sys.executable, "-m", "study", *words],
        env={**os.environ, "PYTHONPATH": IMPORTABLE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def asked(name, output, *options):
    """What it answered."""
    process = start(name, output, *options)
    said, complained = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)


def counts(output):
    done = asked("show", output, "--json")
    found = json.loads(done.stdout)["trials"] if done.returncode == 0 else {}
    return found.get("complete"), found.get("running")


def test_show_follows_a_study_while_it_runs(driver: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, output = driver
    found = json.loads(asked("show", output, "--json").stdout)
    assert found["state"] == "running"
    assert found["driver"]["pid"] == process.pid
    assert found["trials"] == {"complete": SCORING, "failed": 0, "pruned": 0, "running": SLOTS}
    assert [trial["number"] for trial in found["running"]] == [SCORING, SCORING + 1]
    assert found["eta_seconds"] > 0
    shown = asked("show", output).stdout
    assert f"{SCORING} of {WANTED} done, {SLOTS} running" in shown
    assert f"trial {SCORING} runs for" in shown
    assert f"running (host {driver_of(output / 's').host}, pid {process.pid})" in asked("list", output).stdout


@pytest.mark.skipif(find_spec("study.signals") is None, reason="a driver ends at the first SIGTERM")
def test_stop_lets_running_trials_finish_and_says_how_far_it_came(driver: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, output = driver
    below = processes_below(process.pid)
    stopping = start("stop", output)
    said = f"the study 's' (process {process.pid}) stops; running trials finish first\n"
    assert stopping.stdout.readline() == said
    time.sleep(1)
    assert process.poll() is None
    (output / "s" / "go").touch()
    said, _ = stopping.communicate(timeout=60)
    assert stopping.returncode == 0
    assert f"stopped: {SCORING + SLOTS} of {WANTED} trials are done; 3 trials left" in said
    process.wait(timeout=10)
    wait_until(lambda: not alive(below), seconds=30)
    again = asked("stop", output)
    assert (again.returncode, again.stdout) == (0, "the study 's' is not running\n")
    assert "unfinished: 3 trials left" in asked("list", output).stdout


@pytest.mark.slow
def test_stop_now_does_not_wait_for_them(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        below = processes_below(process.pid)
        done = asked("stop", tmp_path, "--now")
        assert done.returncode == 0, done.stderr
        assert f"the study 's' (process {process.pid}) stops\n" in done.stdout
        assert f"stopped: {SCORING} of {WANTED} trials are done; {WANTED - SCORING} trials left" in done.stdout
        process.wait(timeout=10)
        wait_until(lambda: not alive(below), seconds=30)
    assert "unfinished: 5 trials left" in asked("list", tmp_path).stdout


def test_study_on_another_host_is_not_stopped_from_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "config.json").write_text("{}")
    (tmp_path / "s" / "driver.json").write_text('{"host": "far", "pid": 7, "started": "2026-01-01T00:00:00+00:00"}')
    assert command.main(["stop", "s", "--output", str(tmp_path)]) == 2
    assert "runs on the host 'far' as process 7" in capsys.readouterr().err

"""Looking at a study while a real driver runs it, and stopping it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import alive, processes_below, wait_until
from toy_driver import SCORING, WANTED
from toy_engine import IMPORTABLE, SLOTS

from study import command
from study.driver import driver_of


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A driver whose first trials scored, and whose next ones run for ever."""
    output = tmp_path_factory.mktemp("running")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("toy_driver.py")), str(output / "s")],
        env={**os.environ, "PYTHONPATH": IMPORTABLE},
    )
    try:
        wait_until(lambda: process.poll() is not None or counts(output) == (SCORING, SLOTS))
        yield process, output
    finally:
        process.kill()
        process.wait()


def asked(name, output, *options):
    """Another process's answer, as in another terminal."""
    words = [name, *(["s"] if name != "list" else []), "--output", str(output), *options]
    return subprocess.run(
        [sys.executable, "-m", "study", *words],
        env={**os.environ, "PYTHONPATH": IMPORTABLE},
        capture_output=True,
        text=True,
        check=False,
    )


def counts(output):
    done = asked("show", output, "--json")
    found = json.loads(done.stdout)["trials"] if done.returncode == 0 else {}
    return found.get("complete"), found.get("running")


def test_show_follows_a_study_while_it_runs(driver):
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


def test_stop_now_ends_it_and_says_how_far_it_came(driver):
    process, output = driver
    below = processes_below(process.pid)
    done = asked("stop", output, "--now")
    assert done.returncode == 0, done.stderr
    assert f"the study 's' (process {process.pid}) stops\n" in done.stdout
    assert f"stopped: {SCORING} of {WANTED} trials are done; {WANTED - SCORING} trials left" in done.stdout
    process.wait(timeout=10)
    wait_until(lambda: not alive(below), seconds=30)
    again = asked("stop", output)
    assert (again.returncode, again.stdout) == (0, "the study 's' is not running\n")
    assert "unfinished: 5 trials left" in asked("list", output).stdout


def test_study_on_another_host_is_not_stopped_from_here(tmp_path, capsys):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "config.json").write_text("{}")
    (tmp_path / "s" / "driver.json").write_text('{"host": "far", "pid": 7, "started": "2026-01-01T00:00:00+00:00"}')
    assert command.main(["stop", "s", "--output", str(tmp_path)]) == 2
    assert "runs on the host 'far' as process 7" in capsys.readouterr().err

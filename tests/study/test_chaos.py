"""Studies whose processes are killed, or that have no space left: minutes each, so all of them are slow tests."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from processes import alive, command_of, processes_below, wait_until
from studies import summary
from toy_engine import IMPORTABLE

from nad.evaluation import Scores
from study.commands.overview import read_overview
from study.record.folder import StudyFolder
from study.run import main
from study.search.lost_trial import MAX_RETRIES
from study.search.queue import enqueue

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TRIALS = 20
Recorded = dict[int, tuple[str, dict[str, Any], tuple[float, ...] | None, dict[str, Any]]]


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(scope="module")
def paired(options: list[str]) -> list[str]:
    """The same, two trials at a time."""
    return [*options, "--workers", "2"]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A test that fails leaves no study behind."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.communicate()
    STARTED.clear()


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    """A study's own process, in a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "study.run", *arguments],
        env={**os.environ, "PYTHONPATH": IMPORTABLE, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    return process


def count(folder: Path, state: str) -> int:
    """Trials in this state, read beside the study's own process, without Optuna, which would make the tables."""
    if not (folder / "study.db").exists():
        return 0
    with closing(sqlite3.connect(f"file:{folder}/study.db?mode=ro", uri=True)) as database, suppress(sqlite3.Error):
        found = database.execute("SELECT count(*) FROM trials WHERE state = ?", (state,)).fetchone()
        return int(found[0])
    return 0


def recorded(folder: Path) -> Recorded:
    """Every trial of a study by number: state, setting, values, attributes; nothing while there is no record."""
    if not (folder / "study.db").exists():
        return {}
    try:
        study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder}/study.db")
        trials = study.get_trials()
    except (KeyError, optuna.exceptions.StorageInternalError):  # killed while the tables were made
        return {}
    return {
        trial.number: (
            trial.state.name,
            trial.user_attrs.get("setting", trial.params),
            trial.values and tuple(trial.values),
            trial.user_attrs,
        )
        for trial in trials
    }


def scored(trials: Recorded) -> dict[str, tuple[float, ...]]:
    """What each setting came to on each draw, every measured score of it; one that ran twice is an error."""
    found: dict[str, tuple[float, ...]] = {}
    for state, params, _values, attrs in trials.values():
        if state == "COMPLETE":
            key = json.dumps([params, attrs["seed"]], sort_keys=True)
            assert key not in found, "an erase that had finished ran again on the same draw"
            found[key] = tuple(attrs.get(name, 0.0) for name in Scores._fields)
    return found


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes in which trials run."""
    found = []
    for pid in sorted(processes_below(process.pid)):
        try:
            if command_of(pid).startswith("ray::ImplicitFunc"):
                found.append(pid)
        except FileNotFoundError:
            continue
    return found


def test_driver_killed_at_twenty_random_moments_loses_nothing(
    paired: list[str], finished: Path, tmp_path: Path
) -> None:
    """The study before gave the cache its victim, so that the kills fall on the study; some fall on its start."""
    folder, moments = tmp_path / "s", random.Random(4)
    command = [*paired, "--trials", str(TRIALS), "--output", str(tmp_path), "--name", "s"]
    killed = lost = in_flight = 0
    began = time.monotonic()
    while killed < 20:
        before = recorded(folder)
        process = start(command)
        wait_for_more = moments.random() < 0.4
        if wait_for_more:  # else this start is killed before it has got anywhere
            known = count(folder, "COMPLETE")
            wait_until(
                lambda known=known, process=process: process.poll() is not None or count(folder, "COMPLETE") > known,
                seconds=200,
            )
            time.sleep(moments.uniform(0, 1.5))
        else:
            time.sleep(moments.uniform(0.5, 10))
        assert process.poll() is None, "the study ended before it was killed often enough"
        process.kill()
        process.communicate()
        killed += 1
        after = recorded(folder)
        left = {number for number, trial in after.items() if trial[0] == "RUNNING"}
        in_flight += len(left - {number for number, trial in before.items() if trial[0] == "RUNNING"})
        lost += sum(after[number] != trial for number, trial in before.items() if trial[0] in ("COMPLETE", "FAIL"))
    final = start(command)
    _out, err = final.communicate(timeout=900)
    assert final.returncode == 0, err
    trials = recorded(folder)
    states = [state for state, *_ in trials.values()]
    reruns = sum(attrs.get("restart", 0) > 0 for _state, _params, _values, attrs in trials.values())
    print(
        f"\n{killed} kills in {time.monotonic() - began:.0f} s, {lost} finished trials lost, {in_flight} in flight,"
        f" {reruns} run again, states { ({name: states.count(name) for name in set(states)}) }"
    )
    assert lost == 0
    assert states.count("COMPLETE") == TRIALS
    assert set(states) <= {"COMPLETE", "FAIL"}
    assert reruns <= in_flight
    draws = Counter(attrs["draw"] for state, _setting, _values, attrs in trials.values() if state == "COMPLETE")
    assert draws[1] >= draws[2] >= 2, "the kills fell among repeats"
    assert summary(folder)["trials"]["running"] == 0
    assert scored(trials).items() == evaluated_again(paired, tmp_path, trials).items()


def evaluated_again(paired: list[str], tmp_path: Path, trials: Recorded) -> dict[str, tuple[float, ...]]:
    """The same erases in a study that nobody disturbs."""
    command = [*paired, "--output", str(tmp_path), "--name", "again"]
    assert main([*command, "--trials", "1"]) == 0
    study = optuna.load_study(study_name="again", storage=f"sqlite:///{tmp_path}/again/study.db")
    asked = 0
    for state, setting, _values, attrs in trials.values():
        if state == "COMPLETE" and "control" not in attrs and "portfolio" not in attrs:
            enqueue(study, {}, {"asked": asked, "setting": setting, "draw": attrs["draw"]})
            asked += 1
    assert main([*command, "--trials", str(TRIALS)]) == 0
    return scored(recorded(tmp_path / "again"))


def test_ten_killed_workers_cost_no_point(paired: list[str], finished: Path, tmp_path: Path) -> None:
    folder, moments = tmp_path / "s", random.Random(5)
    wanted = 4 * TRIALS
    process = start([*paired, "--trials", str(wanted), "--output", str(tmp_path), "--name", "s"])
    killed = 0
    while killed < 10 and process.poll() is None:
        known = count(folder, "COMPLETE")
        wait_until(lambda known=known: process.poll() is not None or count(folder, "COMPLETE") > known, seconds=200)
        time.sleep(moments.uniform(0, 2))
        running = workers_of(process)
        if running and count(folder, "RUNNING"):
            os.kill(moments.choice(running), signal.SIGKILL)
            killed += 1
    _out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, err
    trials = recorded(folder)
    lost = [attrs["error"] for state, _params, _values, attrs in trials.values() if state == "FAIL"]
    states = [state for state, *_ in trials.values()]
    print(f"\n{killed} workers killed, {len(lost)} trials cut short, {states.count('COMPLETE')} complete")
    assert killed == 10
    assert states.count("COMPLETE") == wanted
    assert set(states) <= {"COMPLETE", "FAIL"}
    assert all("most often for want of memory; lower --workers" in reason for reason in lost)
    ends = {"COMPLETE": set(), "FAIL": set()}
    for state, params, _values, attrs in trials.values():
        ends[state].add((json.dumps(params, sort_keys=True), attrs.get("retry", 0)))
    complete = {point for point, _retry in ends["COMPLETE"]}
    given_up = {point for point, retry in ends["FAIL"] if retry == MAX_RETRIES}
    assert {point for point, _retry in ends["FAIL"]} <= complete | given_up, "asked again, unless killed three times"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 60 MB; its path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", name]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"this user may not mount a file system: {mounted.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Take all of a disk's space but so many bytes, while others may write to it; the file that holds it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - leave) > 0:
            file.write(b"\0" * min(free, 2**20))
    return ballast


def refusal(process: subprocess.Popen[str]) -> str:
    """The one sentence with which it ends."""
    _out, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    print("\n" + err)
    return err


def test_disk_that_fills_up_during_the_trials(paired: list[str], finished: Path, small_disk: Path) -> None:
    command = [*paired, "--trials", "8", "--output", str(small_disk), "--name", "s"]
    process = start(command)
    folder = small_disk / "s"
    wait_until(lambda: count(folder, "COMPLETE") >= 2, seconds=200)
    ballast = fill(small_disk)
    sentence = refusal(process)
    assert "finished trials are kept" in sentence
    ballast.unlink()
    before = recorded(folder)
    kept = {number: trial for number, trial in before.items() if trial[0] == "COMPLETE"}
    assert len(kept) >= 2
    again = start(command)
    _out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    after = recorded(folder)
    assert kept.items() <= after.items()
    assert sorted({state for state, *_ in after.values()} - {"FAIL"}) == ["COMPLETE"]
    assert sum(state == "COMPLETE" for state, *_ in after.values()) == 8


def test_disk_that_is_full_when_the_victim_is_kept(
    paired: list[str], finished: Path, cache: Path, small_disk: Path, tmp_path: Path
) -> None:
    own = small_disk / "cache"
    shutil.copytree(cache / "images", own / "images")
    command = [*paired, "--trials", "2", "--output", str(tmp_path), "--name", "s", "--cache", str(own)]
    ballast = fill(small_disk, leave=40_000)
    sentence = refusal(start(command))
    assert "cannot write the model file" in sentence
    assert not list(own.rglob("*.partial"))
    ballast.unlink()
    again = start(command)
    _out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err


def test_disk_that_is_full_when_the_report_is_written(paired: list[str], finished: Path, small_disk: Path) -> None:
    shutil.copytree(finished, small_disk / "s")
    (small_disk / "s" / "report.html").unlink()
    command = [*paired, "--trials", "6", "--output", str(small_disk), "--name", "s"]
    before = recorded(small_disk / "s")
    process = start(command)
    wait_until(lambda: (small_disk / "s" / "study.lock").exists() and len(processes_below(process.pid)) > 3, 100)
    ballast = fill(small_disk, leave=1_000_000)
    assert "report.html" in refusal(process)
    assert not (small_disk / "s" / "report.html").exists()
    assert recorded(small_disk / "s") == before
    ballast.unlink()
    again = start(command)
    _out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert (small_disk / "s" / "report.html").stat().st_size > 1_000_000


@pytest.mark.parametrize("when", ["before", "during"])
def test_full_temporary_folder(paired: list[str], finished: Path, small_disk: Path, tmp_path: Path, when: str) -> None:
    """Ray and Tune keep their own files there."""
    command = [*paired, "--trials", "40", "--output", str(tmp_path), "--name", "s"]
    ballast = fill(small_disk, leave=20_000) if when == "before" else small_disk / "ballast"
    process = start(command, TMPDIR=str(small_disk))
    if when == "during":
        wait_until(lambda: count(tmp_path / "s", "COMPLETE") >= 2, 200)
        fill(small_disk)
    _out, err = process.communicate(timeout=400)
    print(f"\n{process.returncode} {err}")
    if process.returncode:  # Ray may do without what it cannot write
        assert process.returncode == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
    before = recorded(tmp_path / "s")
    assert not [state for state, *_ in before.values() if state == "RUNNING"]
    ballast.unlink(missing_ok=True)
    again = start(command, TMPDIR=str(small_disk))
    _out, err = again.communicate(timeout=400)
    assert again.returncode == 0, err
    after = recorded(tmp_path / "s")
    assert sum(state == "COMPLETE" for state, *_ in after.values()) == 40


def test_processes_and_folders_of_a_killed_driver_go(paired: list[str], finished: Path, tmp_path: Path) -> None:
    command = [*paired, "--trials", "200", "--output", str(tmp_path), "--name", "s"]
    process = start(command)
    wait_until(lambda: len(workers_of(process)) >= 2, seconds=100)
    family = processes_below(process.pid)
    agents = {pid for pid in family if "Agent" in command_of(pid)}  # they try to tell the lost head for a minute
    process.kill()
    killed = time.monotonic()
    process.communicate()
    again = start([*paired, "--trials", "6", "--output", str(tmp_path), "--name", "other"])  # at once, beside them
    wait_until(lambda: not alive(family - agents), seconds=30)
    print(f"\nall but Ray's agents gone after {time.monotonic() - killed:.0f} s")
    _out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    wait_until(lambda: not alive(family), seconds=120)
    print(f"all gone after {time.monotonic() - killed:.0f} s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_study_that_is_asked_to_end_finishes_what_runs_and_reports(
    paired: list[str], finished: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start([*paired, "--trials", "200", "--output", str(tmp_path), "--name", "s"])
    wait_until(lambda: count(tmp_path / "s", "COMPLETE") >= 2 and count(tmp_path / "s", "RUNNING") == 2, seconds=200)
    process.send_signal(number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 128 + number
    assert err == "interrupted: finished trials are kept; the same command goes on from here\n"
    assert "no further trial starts; finishing " in out
    assert "once more stops at once" in out
    states = [state for state, *_ in recorded(tmp_path / "s").values()]
    assert set(states) == {"COMPLETE"}
    assert summary(tmp_path / "s")["trials"]["complete"] == len(states)
    assert (tmp_path / "s" / "report.html").exists()


def test_study_that_is_ended_while_it_confirms_reports_what_there_is_and_goes_on(
    paired: list[str], finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    shutil.copytree(finished, folder)
    command = [*paired, "--trials", "6", "--confirm", "5", "--output", str(tmp_path), "--name", "s"]
    process = start(command)
    wait_until(lambda: ((summary(folder).get("confirmation") or {}).get("done", 0)) >= 3, seconds=200)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert err == "interrupted: finished trials are kept; the same command goes on from here\n"
    done, runs = (summary(folder)["confirmation"][name] for name in ("done", "runs"))
    assert 3 <= done < runs
    assert f"{done} of {runs} runs of its confirmation are done" in (folder / "report.html").read_text()
    assert read_overview(StudyFolder(folder)).left == f"{runs - done} runs of the confirmation"
    again = start(command)
    _out, err = again.communicate(timeout=400)
    assert again.returncode == 0, err
    assert summary(folder)["confirmation"] == {"draws": 5, "runs": runs, "done": runs}
    assert "runs of its confirmation are done" not in (folder / "report.html").read_text()
    assert read_overview(StudyFolder(folder)).left == ""


def test_study_that_is_ended_while_its_victim_trains_keeps_nothing_half(paired: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = [*paired, "--victim-epochs", "900", "--output", str(tmp_path), "--name", "s", "--cache", str(cache)]
    process = start(command)
    assert process.stdout is not None
    while "victim: 1/" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert (process.returncode, err.count("\n")) == (143, 1)
    assert not list(cache.rglob("*.safetensors.*.partial"))
    assert not list((cache / "models").glob("victim*.safetensors"))

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from processes import wait_until
from toy_engine import IMPORTABLE

from nad.errors import ConfigError
from study.record import driver as driver_module
from study.record import folder as folder_module
from study.record.driver import Driver, driver_of
from study.record.folder import open_folder
from study.record.writing import write_json

HOLDER = """
import pathlib, sys
from study.record.folder import open_folder
with open_folder(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_driver(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the study until a line comes, or it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        env={**os.environ, "PYTHONPATH": IMPORTABLE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_driver_claims_the_folder_and_leaves_nothing_of_itself(tmp_path: Path) -> None:
    with open_folder(tmp_path / "s") as folder:
        driver = driver_of(folder.path)
        assert driver is not None
        assert (driver.host, driver.pid, driver.here, driver.alive) == (platform.node(), os.getpid(), True, True)
        assert abs(datetime.now(UTC) - datetime.fromisoformat(driver.started)) < timedelta(minutes=1)
        assert folder.left_by is None
        assert (folder.path / "driver.json").stat().st_mode & 0o777 == 0o600
    assert driver_of(tmp_path / "s") is None


def test_second_driver_is_told_who_runs_the_study_and_a_killed_one_is_taken_over(tmp_path: Path) -> None:
    with another_driver(tmp_path) as process:
        said = f"is being run by process {process.pid} on host {platform.node()} since less than a minute; wait"
        with pytest.raises(ConfigError, match=said), open_folder(tmp_path):
            pass
        driver = driver_of(tmp_path)
        assert driver is not None
        assert driver.alive
        process.kill()
        wait_until(lambda: driver.alive is False, seconds=10)  # though nobody has collected its exit code yet
        process.wait()
        with open_folder(tmp_path) as folder:
            assert folder.left_by == driver
            assert driver_of(tmp_path) != driver
    assert driver_of(tmp_path) is None


def test_pid_of_another_process_is_not_taken_for_the_driver() -> None:
    driver = Driver.current()
    assert driver.alive
    assert dataclasses.replace(driver, born=driver.born[:-1]).alive is False
    assert dataclasses.replace(driver, pid=2**22 + 1).alive is False
    assert dataclasses.replace(driver, pid=2**22 + 1, born="").alive is False
    assert [dataclasses.replace(driver, pid=pid).alive for pid in (-1, 2**70)] == [False, False]


def test_driver_named_by_an_earlier_version_is_recognised_whatever_the_clock_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It wrote the kernel's own figures: the boot's id, and the start of the process in clock ticks since the boot."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    driver = Driver(platform.node(), os.getpid(), "2026-01-01T00:00:00+00:00", f"{boot}:{stat[19]}")
    assert Driver.current().born == driver.born
    assert driver.alive
    assert driver.is_this_process
    real = psutil._psplatform.boot_time
    jumps = iter([0.0, 0.0, 1.0])  # the clock is set while a process is looked up, then stays
    for module in (psutil, psutil._psplatform):
        monkeypatch.setattr(module, "boot_time", lambda: real() + next(jumps, 1.0))
    assert driver.alive


def test_driver_lives_while_its_pid_does_on_a_system_without_boot_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "_BOOT_ID", Path("/missing"))
    driver = Driver.current()
    assert (driver.born, driver.alive, driver.gone) == ("", True, False)
    assert dataclasses.replace(driver, pid=2**22 + 1).gone


def test_whether_a_driver_lives_on_another_host_cannot_be_told() -> None:
    driver = dataclasses.replace(Driver.current(), host="elsewhere")
    assert (driver.here, driver.alive) == (False, None)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"host": "a"}', '{"host": "a", "pid": "x", "started": "y"}', "\x00\x00", '"text"'],
)
def test_file_that_is_torn_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "driver.json").write_text(text)
    assert driver_of(tmp_path) is None


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(seconds=5), "since less than a minute"),
        (timedelta(minutes=12, seconds=30), "since 12 minutes"),
        (timedelta(hours=1), "since 1 hour"),
        (timedelta(days=3, hours=4), "since 3 days"),
        (-timedelta(hours=2), "since less than a minute"),
    ],
    ids=str,
)
def test_age_is_said_in_words_and_a_clock_that_jumped_back_breaks_nothing(
    tmp_path: Path, ago: timedelta, said: str
) -> None:
    facts = {"host": "a", "pid": 7, "started": (datetime.now(UTC) - ago).isoformat()}
    (tmp_path / "driver.json").write_text(json.dumps(facts))
    assert str(driver_of(tmp_path)) == f"process 7 on host a {said}"


def test_driver_that_others_took_the_study_from_takes_nothing_of_theirs_away(tmp_path: Path) -> None:
    """Where the lock does not reach them."""
    theirs = Driver("far", 7, "2026-01-01T00:00:00+00:00", "boot:1")
    with open_folder(tmp_path):
        write_json(tmp_path / "driver.json", theirs.facts())
    assert driver_of(tmp_path) == theirs


@pytest.mark.parametrize("local", [True, False])
def test_driver_that_may_still_run_stays_named_until_the_record_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    """Where another machine may have the folder open."""
    monkeypatch.setattr(folder_module, "is_local", lambda _path: local)
    theirs = Driver("far", 7, "2026-01-01T00:00:00+00:00", "boot:1")
    write_json(tmp_path / "driver.json", theirs.facts())
    with pytest.raises(ConfigError), open_folder(tmp_path):
        raise ConfigError("no such data")
    assert driver_of(tmp_path) == (None if local else theirs)
    write_json(tmp_path / "driver.json", theirs.facts())
    with open_folder(tmp_path) as folder:
        assert folder.left_by == theirs
        folder.claim()
        driver = driver_of(tmp_path)
        assert driver is not None
        assert driver.is_this_process
    assert driver_of(tmp_path) is None


def test_only_a_process_of_this_boot_is_sure_to_be_gone() -> None:
    """Another machine may have the same name."""
    ours = Driver.current()
    boot = ours.born.partition(":")[0]
    assert boot
    assert not ours.gone
    assert dataclasses.replace(ours, born=f"{boot}:0").gone
    assert not dataclasses.replace(ours, born="another boot:0").gone
    assert not dataclasses.replace(ours, host="far").gone

"""What a study needs of its machine, asked before anything slow."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nad.errors import ConfigError, NadError
from study.engine import machine, scratch
from study.options.engine import EngineOptions

MiB = 2**20
CONFIG = EngineOptions(workers=2)


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with enough of everything."""
    monkeypatch.setattr(machine, "free_memory", lambda: 10_000 * MiB)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    monkeypatch.setattr(machine, "_threads_of", lambda user: 10)
    monkeypatch.setattr(machine, "temporary_base", lambda: Path("/tmp"))
    limits(monkeypatch)
    disks(monkeypatch)


def limits(monkeypatch: pytest.MonkeyPatch, *, files: int = -1, processes: int = -1) -> None:
    found = {resource.RLIMIT_NOFILE: (20, files), resource.RLIMIT_NPROC: (processes, -1)}
    monkeypatch.setattr(resource, "getrlimit", found.__getitem__)


def disks(monkeypatch: pytest.MonkeyPatch, **free: int) -> None:
    """MB that are left in `tmp` and `shm`."""
    room = {Path("/tmp"): free.get("tmp", 10_000), Path("/dev/shm"): free.get("shm", 10_000)}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=room[path] * MiB))


@pytest.mark.usefixtures("roomy")
def test_machine_with_enough_is_taken() -> None:
    machine.require_machine(CONFIG)


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda patch: limits(patch, files=24),
            r"^a process may have 24 open files here \(ulimit -Hn\), and a study with 2 workers needs 90; raise",
        ),
        (
            lambda patch: limits(patch, processes=150),
            r"^150 processes and threads are allowed here \(ulimit -u\), of which 10 run, and a study with 2 workers"
            r" needs 212 more; raise",
        ),
        (
            lambda patch: patch.setattr(machine, "free_memory", lambda: 300 * MiB),
            r"^300 MB of memory are free here, and a study with 2 workers needs at least 1000 MB; end",
        ),
        (
            lambda patch: disks(patch, tmp=20),
            r"^the disk of the temporary folder /tmp has 20 MB left, and Ray needs 50; free",
        ),
        (
            lambda patch: disks(patch, tmp=80, shm=64),
            r"^the disk of .* /tmp has 80 MB left, and Ray needs 150, for /dev/shm has 64 MB left where 100 would do;",
        ),
    ],
    ids=["files", "processes", "memory", "disk", "shared memory"],
)
def test_what_is_short_is_named_with_its_value_and_the_need(
    spoil: Callable[[pytest.MonkeyPatch], None], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    with pytest.raises(ConfigError, match=sentence):
        machine.require_machine(CONFIG)
    machine.require_machine(EngineOptions(address="auto"))  # trials run elsewhere


@pytest.mark.usefixtures("roomy")
def test_small_shared_memory_is_no_hindrance_where_the_disk_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    disks(monkeypatch, shm=64)
    machine.require_machine(CONFIG)


@pytest.mark.usefixtures("roomy")
def test_missing_shared_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(shutil, "disk_usage", missing)
    with pytest.raises(ConfigError, match=r"^cannot use /dev/shm \(No such file or directory\), .*; mount a tmpfs"):
        machine.require_machine(CONFIG)


@pytest.mark.usefixtures("roomy")
def test_root_may_have_any_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, processes=150)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    machine.require_machine(CONFIG)


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize(("line", "where"), [("0::/job/step", "job"), ("8:pids:/job/step", "pids/job"), ("0::/", "")])
def test_limit_of_a_control_group_or_one_above_it_counts(
    line: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = tmp_path / "cgroup" / where
    group.mkdir(parents=True)
    (group / "pids.max").write_text("max\n")
    (group / "pids.current").write_text("40\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(f"4:memory:/job\n{line}\n")
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    machine.require_machine(CONFIG)
    (group / "pids.max").write_text("200\n")
    with pytest.raises(ConfigError, match=rf"^200 processes .* \({re.escape(str(group))}/pids.max\), of which 40 run"):
        machine.require_machine(CONFIG)


def test_threads_of_this_user_are_counted() -> None:
    assert machine._threads_of(os.getuid()) >= len(os.listdir("/proc/self/task"))
    assert machine._threads_of(4_000_000_000) == 0


# a process with the limit itself

REFUSED = """
import os, resource, sys, types
from nad.errors import ConfigError
from study.engine import machine
if len(sys.argv) > 1:
    os.setuid(int(sys.argv[1]))
try:
    machine.require_machine(types.SimpleNamespace(address=None, slots=1, cpus_per_trial=1))
except ConfigError as error:
    sys.exit(f"refused: {error}")
"""


def under(limit: str, *user: str) -> str:
    command = ["bash", "-c", f'ulimit {limit} && exec "$@"', "bash", sys.executable, "-c", REFUSED, *user]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_hard_limit_of_open_files_is_told() -> None:
    assert under("-n 24").startswith("refused: a process may have 24 open files here (ulimit -Hn), and a study with 1 ")


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user to become")
def test_limit_of_processes_is_told() -> None:
    sentence = under("-u 150", "54321")
    assert re.match(r"refused: 150 processes and threads are allowed here \(ulimit -u\), of which \d+ run", sentence)


# the temporary folder


@pytest.mark.parametrize("name", ["ü", "a b", "100%", "a#b", "line\nfeed", "caf\udce9", "a" * 23])
def test_temporary_folder_that_ray_cannot_take_is_passed_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", f"/{name}")
    assert scratch.temporary_base() == Path("/tmp")
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp/mine_1.2-3")
    assert scratch.temporary_base() == Path("/var/tmp/mine_1.2-3")


def test_no_temporary_folder_at_all_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(NadError, match=r"^no folder for temporary files can be written to: not that of TMPDIR, nor"):
        scratch.temporary_base()

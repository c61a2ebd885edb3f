"""Limits of this machine, checked first: with too little, Ray hangs or blames something else."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nad.errors import ConfigError
from study.engine.scratch import temporary_base

if TYPE_CHECKING:
    from study.options.engine import EngineOptions

MiB = 2**20

THREADS = 160
"""Of Ray's own processes and of the driver. `python -m benchmarks.machine` measures these figures."""
THREADS_PER_WORKER = 25
"""Beside a trial's computing threads."""
FILES = 80
"""Open files of Ray's busiest process."""
FILES_PER_WORKER = 5
MEMORY = 300 * MiB
"""Of Ray's own processes."""
MEMORY_PER_WORKER = 350 * MiB
"""Before its first trial."""
DISK = 50 * MiB
"""Of Ray's temporary folder."""
STORE = 100 * MiB
"""Of the trials' shared images and weights."""

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def require_machine(options: EngineOptions) -> None:
    """Raise ConfigError for a resource in short supply, with its amount and the need.

    A machine joining a cluster passes: trials run elsewhere.
    """
    if options.address is not None or not sys.platform.startswith("linux"):
        return
    _require_files(options.slots)
    _require_threads(options.slots, options.cpus_per_trial)
    _require_memory(options.slots)
    _require_disk()


def _require_files(workers: int) -> None:
    import resource  # late: only Unix has it

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # Ray raises the soft limit to the hard one
    needed = FILES + FILES_PER_WORKER * workers
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise ConfigError(
            f"a process may have {limit} open files here (ulimit -Hn), and a study with {_workers(workers)} needs"
            f" {needed}; raise that limit, or give fewer --workers"
        )


def _require_threads(workers: int, threads: int) -> None:
    needed = THREADS + (THREADS_PER_WORKER + threads) * workers
    for name, most, used in _thread_limits():
        if most - used < needed:
            raise ConfigError(
                f"{most} processes and threads are allowed here ({name}), {used} run, and a study with"
                f" {_workers(workers)} needs {needed} more; raise that limit, end other programs, or give fewer"
                " --workers"
            )


def _require_memory(workers: int) -> None:
    free, needed = free_memory(), MEMORY + MEMORY_PER_WORKER * workers
    if free < needed:
        raise ConfigError(
            f"{free / MiB:.0f} MB of memory are free here, and a study with {_workers(workers)} needs at least"
            f" {needed / MiB:.0f} MB; end other programs, raise the container's limit, or give fewer --workers"
        )


def _require_disk() -> None:
    folder, shared = temporary_base(), Path("/dev/shm")  # noqa: S108 - only looked at
    try:
        room = shutil.disk_usage(shared).free
    except OSError as error:
        raise ConfigError(
            f"cannot use {shared} ({error.strerror}), Ray's place for the trials' shared data; mount a tmpfs of"
            f" {STORE / MiB:.0f} MB there"
        ) from error
    free = shutil.disk_usage(folder).free
    needed = DISK + (0 if room >= STORE else STORE)  # Ray then keeps shared data on the disk
    if free < needed:
        shortage = f", since {shared} has {room / MiB:.0f} MB left of the {STORE / MiB:.0f} needed"
        raise ConfigError(
            f"the disk of the temporary folder {folder} has {free / MiB:.0f} MB left, and Ray needs"
            f" {needed / MiB:.0f}{shortage if needed > DISK else ''}; free some space, or name another folder in TMPDIR"
        )


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def free_memory() -> int:
    """Bytes, of this machine or within the container's limit."""
    from ray._private.utils import estimate_available_memory  # late: it imports Ray

    return int(estimate_available_memory())  # type: ignore[no-untyped-call]


def _thread_limits() -> Iterator[tuple[str, int, int]]:
    """(name, limit, current number of processes and threads) of each limit."""
    import resource  # late: only Unix has it

    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.getuid() != 0 and limit != resource.RLIM_INFINITY:  # root may have any number
        yield "ulimit -u", limit, _threads_of(os.getuid())
    for folder in _pids_cgroups():
        with suppress(OSError, ValueError):  # no such file; or the word `max`
            limit = int((folder / "pids.max").read_text())
            yield f"{folder}/pids.max", limit, int((folder / "pids.current").read_text())


def _pids_cgroups() -> Iterator[Path]:
    """Folders of this process's control groups and their parents, for both versions of cgroups."""
    with suppress(OSError):
        for line in (_PROC / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "pids"):
                own = _CGROUPS / controllers / path.strip("/")
                yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(_CGROUPS / controllers))


def _threads_of(user: int) -> int:
    """Number of threads of this user's processes."""
    found = (process.info for process in psutil.process_iter(["uids", "num_threads"]))
    return sum(one["num_threads"] or 0 for one in found if one["uids"] and one["uids"].real == user)

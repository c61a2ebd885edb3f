"""What a study needs of this machine, asked before anything slow: without it, Ray hangs or blames something else."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nad.errors import ConfigError
from study.engine.scratch import temporary_base

if TYPE_CHECKING:
    from study.options.engine import EngineOptions

MiB = 2**20

THREADS = 160
"""Of Ray's own processes, and new ones of the driver; `python -m benchmarks.machine` measures these figures."""
THREADS_PER_WORKER = 25
"""Beside those that a trial computes with."""
FILES = 80
"""Open ones of Ray's busiest process."""
FILES_PER_WORKER = 5
MEMORY = 300 * MiB
"""Of Ray's own processes."""
MEMORY_PER_WORKER = 350 * MiB
"""Before it computes."""
DISK = 50 * MiB
"""Of Ray's temporary folder."""
STORE = 100 * MiB
"""Of what trials share, images and weights."""

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def require_machine(options: EngineOptions) -> None:
    """Raise ConfigError, with its value and what is needed, for what this machine has too little of.

    Nothing is asked of a machine that joins a cluster: trials run elsewhere.
    """
    if options.address is not None or not sys.platform.startswith("linux"):
        return
    _require_files(options.slots)
    _require_threads(options.slots, options.cpus_per_trial)
    _require_memory(options.slots)
    _require_disk()


def _require_files(workers: int) -> None:
    import resource  # late: only Unix has it

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # Ray raises the soft one to that
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
                f"{most} processes and threads are allowed here ({name}), of which {used} run, and a study with"
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
            f"cannot use {shared} ({error.strerror}), where Ray keeps what trials share; mount a tmpfs of"
            f" {STORE / MiB:.0f} MB there"
        ) from error
    free = shutil.disk_usage(folder).free
    needed = DISK + (0 if room >= STORE else STORE)  # Ray then keeps on the disk what trials share
    if free < needed:
        also = "" if needed == DISK else f", for {shared} has {room / MiB:.0f} MB left where {STORE / MiB:.0f} would do"
        raise ConfigError(
            f"the disk of the temporary folder {folder} has {free / MiB:.0f} MB left, and Ray needs"
            f" {needed / MiB:.0f}{also}; free some space, or name another folder in TMPDIR"
        )


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def free_memory() -> int:
    """Bytes, of this machine or of the container whose limit this process has."""
    from ray._private.utils import estimate_available_memory  # late: it imports Ray

    return int(estimate_available_memory())  # type: ignore[no-untyped-call]


def _thread_limits() -> Iterator[tuple[str, int, int]]:
    """Name, limit, and number of processes and threads that count against it, of each limit that there is."""
    import resource  # late: only Unix has it

    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.getuid() != 0 and limit != resource.RLIM_INFINITY:  # root may have any number
        yield "ulimit -u", limit, _threads_of(os.getuid())
    for folder in _pids_cgroups():
        with suppress(OSError, ValueError):  # no such file; or `max`
            limit = int((folder / "pids.max").read_text())
            yield f"{folder}/pids.max", limit, int((folder / "pids.current").read_text())


def _pids_cgroups() -> Iterator[Path]:
    """Folders of this process's control groups, of both versions, and of those above."""
    with suppress(OSError):
        for line in (_PROC / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "pids"):
                own = _CGROUPS / controllers / path.strip("/")
                yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(_CGROUPS / controllers))


def _threads_of(user: int) -> int:
    """How many threads this user's processes have."""
    count = 0
    for process in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if process.stat().st_uid == user:
                count += len(os.listdir(process / "task"))
    return count

"""Number of threads adapted to the load.

Threads waiting for a busy core cost more than they bring. Numbers change only inside `following_load`: erases in trials
keep theirs, because the last bits of their weights depend on it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import torch

from nad.cores import cores

LOOK_SECONDS = 0.2
"""Length of the first measurement of the load; the kernel counts in hundredths of a second."""

WINDOW_SECONDS = 2.0
"""Between two measurements: short beside a training, long beside brief bursts of other programs."""

SPARE = 0.25
"""Share of a core left to other programs before they cost a thread."""


class Usage(NamedTuple):
    """Time counters, in seconds."""

    wall: float
    own: float
    """CPU time of this process's threads."""
    idle: float
    """Idle time of all cores available to this process, added up."""


def read_usage(counters: Path = Path("/proc/stat")) -> Usage | None:
    """The usage so far; None without the kernel's counters of these very cores."""
    try:
        lines = counters.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    wanted = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    # Per core: idle time and waiting for a disk
    waiting = [words[4:6] for line in lines if (words := line.split()) and words[0] in wanted]
    idle = sum(int(ticks) for pair in waiting for ticks in pair) / os.sysconf("SC_CLK_TCK")
    return Usage(time.monotonic(), time.process_time(), idle) if idle and len(waiting) == len(wanted) else None


class Threads:
    """torch's number of threads: the cores not used by other processes, at least 1.

    Counted are idle cores and those kept busy by this process. Measuring changes no result and takes no time; on a
    quiet machine, the number is always `most`.
    """

    def __init__(self, most: int, read: Callable[[], Usage | None] = read_usage) -> None:
        self.most = most
        self.steps: Counter[int] = Counter()
        """Steps taken, by number of threads."""
        self._read = read
        self._since = read() if most > 1 else None
        torch.set_num_threads(most)

    def look(self) -> None:
        """Wait a short while, and choose by its load."""
        if self.most > 1:
            self._since = self._read()
            time.sleep(LOOK_SECONDS)
            self._choose(LOOK_SECONDS)

    def before_step(self) -> None:
        """Count a step, and choose again at the end of each window."""
        self._choose(WINDOW_SECONDS)
        self.steps[torch.get_num_threads()] += 1

    def _choose(self, seconds: float) -> None:
        if self._since is None or time.monotonic() < self._since.wall + seconds:
            return
        before, now = self._since, self._read()
        self._since = now
        if now is not None and now.wall > before.wall:
            free = (now.own - before.own + now.idle - before.idle) / (now.wall - before.wall)
            torch.set_num_threads(min(self.most, max(1, int(free + SPARE))))


_FOLLOWING: ContextVar[Threads | None] = ContextVar("following", default=None)


@contextmanager
def following_load() -> Iterator[Threads]:
    """Adapt the number of threads of loops with `before_step` to the load.

    At most torch's current number of threads, and no more than the cores; restored afterwards. Nested uses share the
    outer one.
    """
    outer = _FOLLOWING.get()
    if outer is not None:
        yield outer
        return
    before = torch.get_num_threads()
    threads = Threads(min(before, cores()))
    token = _FOLLOWING.set(threads)
    try:
        yield threads
    finally:
        _FOLLOWING.reset(token)
        torch.set_num_threads(before)


def said(steps: Mapping[int, int]) -> dict[str, int]:
    """Steps by number of threads, with JSON's text keys."""
    return {str(count): taken for count, taken in sorted(steps.items())}


def before_step() -> None:
    """Call ahead of each step of a long loop; no effect outside of `following_load`."""
    threads = _FOLLOWING.get()
    if threads is not None:
        threads.before_step()

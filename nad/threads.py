"""A number of threads that follows the load: threads that wait for a busy core cost more than they bring.

Nothing here acts unless `following_load` is entered: erases in trials keep the number of threads that they were given,
on which the last bits of their weights depend.
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
"""Length of the first look at the load; the kernel counts in hundredths of a second."""

WINDOW_SECONDS = 2.0
"""Between two looks: short beside a training, long beside what other programs do now and then."""

SPARE = 0.25
"""Share of a core that other programs may use without costing a thread."""


class Usage(NamedTuple):
    """Seconds so far."""

    wall: float
    own: float
    """Of processor time, by this process's threads."""
    idle: float
    """Of the cores that this process may use, added up."""


def read_usage(counters: Path = Path("/proc/stat")) -> Usage | None:
    """The usage so far; None where the kernel does not count it, or a sandbox shows zeros or other cores instead."""
    try:
        lines = counters.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    wanted = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    # Of each core, what it waited for work and for a disk
    waiting = [words[4:6] for line in lines if (words := line.split()) and words[0] in wanted]
    idle = sum(int(ticks) for pair in waiting for ticks in pair) / os.sysconf("SC_CLK_TCK")
    return Usage(time.monotonic(), time.process_time(), idle) if idle and len(waiting) == len(wanted) else None


class Threads:
    """torch's number of threads: as many as there are cores that no other process uses, at least 1.

    Cores that are idle and those that this process keeps busy are the ones that it can have. Measuring that changes no
    result and takes no time; on a quiet machine, the number is always `most`.
    """

    def __init__(self, most: int, read: Callable[[], Usage | None] = read_usage) -> None:
        self.most = most
        self.steps: Counter[int] = Counter()
        """Steps taken, by number of threads."""
        self._read = read
        self._since = read() if most > 1 else None
        torch.set_num_threads(most)

    def look(self) -> None:
        """Choose by the load of a short while from now, in which this process waits."""
        if self.most > 1:
            self._since = self._read()
            time.sleep(LOOK_SECONDS)
            self._choose(LOOK_SECONDS)

    def before_step(self) -> None:
        """Count a step, and choose again where the last look is long enough ago."""
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
    """While this is entered, loops of this process that call `before_step` run in as many threads as the load leaves.

    At most torch's number of threads now, and no more than there are cores; afterwards it is as before. Inside another
    one, it is the same one.
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
    """Steps by number of threads, as JSON has them."""
    return {str(count): taken for count, taken in sorted(steps.items())}


def before_step() -> None:
    """Ahead of each step of a loop that takes long; nothing outside of `following_load`."""
    threads = _FOLLOWING.get()
    if threads is not None:
        threads.before_step()

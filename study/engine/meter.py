"""Progress of running tasks: workers report to a meter, the driver reads it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nad.progress import Progress

Told = Mapping[int, tuple[int, int]]
"""Last report of each task, by its index: (done, all)."""

_PERIOD = 1.0
"""Seconds between two reports of one task; its first and its last always come."""


class Meter:
    """The driver's side: an actor, found by workers under its name once it is open.

    An actor costs a process, so open it only for long tasks. It ends with this object.
    """

    def __init__(self) -> None:
        self.name = f"meter {uuid.uuid4().hex}"
        self._actor: Any = None

    def open(self) -> None:
        """Start the actor on this process's node, independent of other nodes."""
        if self._actor is None:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            self._actor = ray.remote(num_cpus=0)(_Board).options(name=self.name, scheduling_strategy=here).remote()

    def read(self) -> Told:
        """The reports; empty before it is open, or after losing its process."""
        if self._actor is None:
            return {}
        try:
            told: Told = ray.get(self._actor.read.remote())
        except RayError:
            return {}
        return told


class _Board:
    """The actor."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, int]] = {}

    def tell(self, index: int, done: int, total: int) -> None:
        self._told[index] = done, total

    def read(self) -> Told:
        return self._told


def teller(name: str, index: int) -> Progress:
    """A worker's progress function; reports to the meter of this name once open."""
    board: Any = None
    last = -_PERIOD

    def tell(done: int, total: int) -> None:
        nonlocal board, last
        now = time.monotonic()
        if done < total and now - last < _PERIOD:
            return
        last = now
        if board is None:
            with suppress(ValueError):  # not open yet, or closed
                board = ray.get_actor(name)
        if board is not None:
            board.tell.remote(index, done, total)

    return tell

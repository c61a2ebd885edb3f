"""A study on a running Ray cluster: join it, check it, leave it unchanged."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nad.errors import ConfigError
from study.display.progress import Display
from study.engine import session, tasks
from study.engine.address import find_cluster
from study.engine.nodes import requested, working_nodes
from study.engine.probe import require_equal_nodes
from study.options.engine import EngineOptions

_LOOK_SECONDS = 2.0
"""Between two polls for new nodes."""


@contextmanager
def on_cluster(options: EngineOptions, display: Display) -> Iterator[None]:
    """Connect Ray to the cluster at --address for this block; without one, do nothing.

    Raises: ConfigError for a cluster that cannot be joined, has no room for a trial, or has unfit nodes.
    """
    if options.address is None:
        yield
        return
    cluster = find_cluster(options.address)
    with session.cluster_session(cluster):
        if not cluster.authenticated:
            display.say(
                f"warning: the Ray cluster at {cluster.address} asks for no token: anybody with access to its port can"
                " run code on its nodes, and read and change this study; see docs/cluster.md on tokens"
            )
        slots = _wait_for_slots(options, display)
        for warning in require_equal_nodes():
            display.say(f"warning: {warning}")
        display.say(
            f"Ray cluster at {cluster.address}: {len(working_nodes())} nodes, room for {slots} trials at a time"
        )
        yield


def _wait_for_slots(options: EngineOptions, display: Display) -> int:
    """Number of trials with room on the cluster at once.

    With --wait-for-nodes, wait for as many as --workers, or for one, and ask an autoscaler for them.
    Raises: ConfigError without room for one in the end.
    """
    size, wanted = options.size, options.workers or 1
    deadline = time.monotonic() + options.wait_seconds
    if options.wait_seconds and _slots(size) < wanted:
        with requested(wanted, *size), display.stage("nodes", "s waited", lambda: f"room for {_slots(size)}") as step:
            while (left := deadline - time.monotonic()) > 0 and _slots(size) < wanted:
                step(int(options.wait_seconds - left), math.ceil(options.wait_seconds))
                time.sleep(min(_LOOK_SECONDS, left))
    try:
        return tasks.available_slots(*size)
    except ConfigError as error:
        waited = f" (waited for {options.wait_for_nodes})" if options.wait_seconds else ""
        raise ConfigError(f"{error}{waited}") from None


def _slots(size: tuple[float, float]) -> int:
    try:
        return tasks.available_slots(*size)
    except ConfigError:
        return 0

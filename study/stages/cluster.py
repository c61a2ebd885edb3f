"""A study on a running Ray cluster: joined, checked, and left as it was."""

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
from study.options.config import StudyConfig

_LOOK_SECONDS = 2.0
"""Between two looks for new nodes."""


@contextmanager
def on_cluster(config: StudyConfig, display: Display) -> Iterator[None]:
    """While this is entered, Ray is the cluster that --address names; without one, nothing happens.

    Raises: ConfigError where it cannot be joined, has no node for a trial, or nodes that cannot run one.
    """
    if config.address is None:
        yield
        return
    cluster = find_cluster(config.address)
    with session.cluster_session(cluster):
        if not cluster.authenticated:
            display.say(
                f"warning: the Ray cluster at {cluster.address} asks nobody for a token: whoever reaches its port can"
                " run code on its nodes, and read and change this study; see docs/cluster.md on tokens"
            )
        slots = _wait_for_slots(config, display)
        for warning in require_equal_nodes():
            display.say(f"warning: {warning}")
        display.say(
            f"Ray cluster at {cluster.address}: {len(working_nodes())} nodes, room for {slots} trials at a time"
        )
        yield


def _wait_for_slots(config: StudyConfig, display: Display) -> int:
    """How many trials the cluster holds at once.

    With --wait-for-nodes, that is waited for until it is as many as --workers, or any; an autoscaler is told.
    Raises: ConfigError where no node can hold one, in the end.
    """
    size, wanted = (config.cpus_per_trial, config.gpus_per_trial), config.workers or 1
    deadline = time.monotonic() + config.wait_seconds
    if config.wait_seconds and _slots(size) < wanted:
        with requested(wanted, *size), display.stage("nodes", "s waited", lambda: f"room for {_slots(size)}") as step:
            while (left := deadline - time.monotonic()) > 0 and _slots(size) < wanted:
                step(int(config.wait_seconds - left), math.ceil(config.wait_seconds))
                time.sleep(min(_LOOK_SECONDS, left))
    try:
        return tasks.available_slots(*size)
    except ConfigError as error:
        waited = f" (waited for {config.wait_for_nodes})" if config.wait_seconds else ""
        raise ConfigError(f"{error}{waited}") from None


def _slots(size: tuple[float, float]) -> int:
    try:
        return tasks.available_slots(*size)
    except ConfigError:
        return 0

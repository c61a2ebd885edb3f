"""Liveness checks of Ray.

A minute after losing its head node, Ray ends the driver's process silently, before the record is closed. Code waiting
for Ray checks here and gets an exception in time.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import ray

from nad.errors import NadError

PERIOD = 1.0
"""Seconds between two checks."""
_PATIENCE = 5.0  # seconds for a connection, and thrice in a row: a busy machine is not a lost one
_ATTEMPTS = 3

Address = tuple[str, int]


class RayLost(NadError):
    """Ray's head, or its process on this machine, is gone, with all running trials."""


class Lifeline:
    """A driver's two vital processes: Ray's head and its own node's raylet."""

    def __init__(self) -> None:
        self._checked = time.monotonic()
        self._needed = _needed()

    def check(self) -> None:
        """Check once in a period; cheap to call often.  Raises: RayLost."""
        now = time.monotonic()
        if now - self._checked < PERIOD:
            return
        lost = [name for name, address in self._needed if not _answers(address)]
        self._checked = time.monotonic()
        if lost:
            raise RayLost(
                f"{' and '.join(lost)} no longer answers: it was killed, or ran out of memory; run the same command"
                " again: finished trials are kept"
            )


def _needed() -> Sequence[tuple[str, Address]]:
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    own = context.get_node_id()
    nodes = [node for node in ray.nodes() if node["NodeID"] == own]  # type: ignore[no-untyped-call]
    raylets = [("Ray on this machine", (node["NodeManagerAddress"], node["NodeManagerPort"])) for node in nodes]
    return [("Ray's head node", (host.strip("[]"), int(port))), *raylets]


def _answers(address: Address) -> bool:
    for attempt in range(_ATTEMPTS):
        try:
            socket.create_connection(address, timeout=_PATIENCE).close()
        except ConnectionRefusedError:
            return False
        except OSError:
            if attempt < _ATTEMPTS - 1:
                time.sleep(PERIOD)
            continue
        return True
    return False

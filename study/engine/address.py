"""Where a running Ray cluster is, and how it wants to be asked: found out before Ray is asked to join it.

Ray itself takes minutes to give up on an address where nobody answers, and 20 seconds on a wrong token.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import NamedTuple

from nad.errors import ConfigError

CONNECT_SECONDS = 5.0
"""A cluster's address answers within this."""
_KNOCK_SECONDS = 30.0

# The cluster id is made up: a request that gets past the token is answered with the news that the id is wrong. Then
# the cluster is asked for its nodes.
_KNOCK = """
import sys
from ray._raylet import GcsClient
try:
    client = GcsClient(address=sys.argv[1], cluster_id="ab" * 28)
    client.internal_kv_get(b"session_name", namespace=b"session", timeout=5)
except Exception as error:
    print(error)
    if "WrongClusterID" in str(error):
        for node in GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10).values():
            if node.state == node.ALIVE:
                print("node", node.node_manager_address)
"""


class Cluster(NamedTuple):
    """A running cluster that lets this process in."""

    address: str
    """HOST:PORT."""
    authenticated: bool
    """Whether it asks for a token."""


def find_cluster(address: str) -> Cluster:
    """The cluster at HOST:PORT, or for `auto` the one that RAY_ADDRESS or `ray start` on this machine names.

    A token is looked for where Ray does: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.
    Raises: ConfigError where nobody answers in time, what answers is not Ray, the token is missing or wrong, or this
    machine is no node of the cluster.
    """
    from ray._private.services import canonicalize_bootstrap_address  # late: it imports Ray

    named = _named_here() if address == "auto" else address
    _require_answer(named)
    found = canonicalize_bootstrap_address(named) or named  # Ray takes localhost for this machine's own address
    _require_answer(found)
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    answer = _knock(found, {**without, "RAY_AUTH_MODE": "disabled"})
    if "WrongClusterID" in answer:
        _require_node_here(found, answer)
        return Cluster(found, authenticated=False)
    if "InvalidAuthToken" not in answer:
        raise ConfigError(
            f"what answers at {found} is no Ray cluster of this version; give the HOST:PORT that `ray start --head`"
            " printed"
        )
    answer = _knock(found, {**os.environ, "RAY_AUTH_MODE": "token"})
    if "WrongClusterID" not in answer:
        which = "the token found here is another one" if "InvalidAuthToken" in answer else "no token is found here"
        raise ConfigError(
            f"the Ray cluster at {found} asks for a token, and {which}; set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a"
            " file with it, or put it into ~/.ray/auth_token"
        )
    _require_node_here(found, answer)
    return Cluster(found, authenticated=True)


def _require_node_here(address: str, answer: str) -> None:
    """Raise ConfigError unless one of the cluster's nodes is this machine: Ray needs one to talk through."""
    nodes = [line.removeprefix("node ") for line in answer.splitlines() if line.startswith("node ")]
    if not any(map(_is_here, nodes)):
        raise ConfigError(
            f"this machine is no node of the Ray cluster at {address}; run the command on one of them"
            f" ({', '.join(nodes[:3]) or 'none is alive'}), or join with `ray start --address={address} --num-cpus=0`"
        )


def _is_here(host: str) -> bool:
    """Whether this machine has that address: nobody else can listen on it."""
    try:
        socket.create_server((host, 0)).close()
    except OSError:
        return False
    return True


def _named_here() -> str:
    from ray._common.utils import get_ray_address_file  # late: it imports Ray

    if named := os.environ.get("RAY_ADDRESS"):
        return named
    try:
        with open(get_ray_address_file(None)) as file:
            return file.read().strip()
    except OSError:
        raise ConfigError(
            "--address auto finds no Ray cluster on this machine; start one with `ray start --head`, or give HOST:PORT"
        ) from None


def _require_answer(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            pass
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
        raise ConfigError(
            f"no Ray cluster answers at {address} ({reason}); is it running, and the port open to this machine?"
        ) from error


def _knock(address: str, environment: dict[str, str]) -> str:
    """What the cluster says to a request; from a process of its own, for Ray reads its settings once."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _KNOCK, address],  # -P: nothing from the current folder
            env=environment,
            capture_output=True,
            text=True,
            timeout=_KNOCK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout

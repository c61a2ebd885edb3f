"""Address and authentication of a running Ray cluster, checked before Ray joins it.

Ray itself takes minutes to give up on a silent address, and 20 seconds on a wrong token.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import NamedTuple

from nad.errors import ConfigError

CONNECT_SECONDS = 5.0
"""Limit for a cluster's answer."""
_KNOCK_SECONDS = 30.0

# The cluster id is made up: past the token check, Ray answers "wrong id". Then the cluster is asked for its nodes.
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
    """A running cluster open to this process."""

    address: str
    """HOST:PORT."""
    authenticated: bool
    """True if it asks for a token."""


def find_cluster(address: str) -> Cluster:
    """The cluster at HOST:PORT; `auto` takes RAY_ADDRESS, then this machine's `ray start`.

    Looks for a token in Ray's own places: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.
    Raises: ConfigError without an answer in time, for a server other than Ray, a missing or wrong token, or on a
    machine outside the cluster.
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
            f"the server at {found} is no Ray cluster of this version; give the HOST:PORT printed by `ray start --head`"
        )
    answer = _knock(found, {**os.environ, "RAY_AUTH_MODE": "token"})
    if "WrongClusterID" not in answer:
        fault = "the token found here is another one" if "InvalidAuthToken" in answer else "no token is found here"
        raise ConfigError(
            f"the Ray cluster at {found} asks for a token, and {fault}; set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a"
            " file with it, or put it into ~/.ray/auth_token"
        )
    _require_node_here(found, answer)
    return Cluster(found, authenticated=True)


def _require_node_here(address: str, answer: str) -> None:
    """Raise ConfigError on a machine outside the cluster: Ray needs a local node."""
    nodes = [line.removeprefix("node ") for line in answer.splitlines() if line.startswith("node ")]
    if not any(map(_is_here, nodes)):
        raise ConfigError(
            f"this machine is no node of the Ray cluster at {address}; run the command on one of them"
            f" ({', '.join(nodes[:3]) or 'none is alive'}), or join with `ray start --address={address} --num-cpus=0`"
        )


def _is_here(host: str) -> bool:
    """True if this machine can listen on that address."""
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
    """The cluster's reply, through a separate process: Ray reads its settings once."""
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

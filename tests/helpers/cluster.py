"""A Ray cluster of real `ray start` processes on this machine; nodes can be killed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from processes import alive, processes_below, wait_until

RAY = Path(sys.executable).with_name("ray")


@dataclass
class LocalCluster:
    """Nodes are told apart by their loopback address; each is one process group, below its `ray start --block`."""

    folder: Path
    token: str | None
    environment: Mapping[str, str]
    port: int = field(init=False)
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    host: str = "127.0.0.2"
    """The head's."""

    def __post_init__(self) -> None:
        self.port = free_port()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def joining(self) -> dict[str, str]:
        """Environment variables for a driver to join."""
        return {} if self.token is None else {"RAY_AUTH_TOKEN": self.token}

    def start(self, host: str, *, cpus: int = 1, **resources: float) -> None:
        """Start a node; the first is the head."""
        role = ("--address", self.address) if self.nodes else ("--head", f"--port={self.port}")
        command = [
            *(str(RAY), "start", "--block", "--disable-usage-stats", *role, f"--node-ip-address={host}"),
            *(f"--num-cpus={cpus}", "--object-store-memory=100000000"),
            *([f"--num-gpus={resources['gpus']}"] if "gpus" in resources else []),
            *([] if self.nodes else ["--include-dashboard=false", f"--temp-dir={self.folder}"]),
        ]
        mode = {"RAY_AUTH_MODE": "disabled"} if self.token is None else {"RAY_AUTH_MODE": "token", **self.joining}
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
        log = (self.folder.parent / f"{host}.log").open("wb")
        self.nodes[host] = subprocess.Popen(
            command,
            env={**plain, **mode, **self.environment},
            cwd=self.folder.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        wait_until(lambda: self._has_started(host))

    def _has_started(self, host: str) -> bool:
        text = (self.folder.parent / f"{host}.log").read_text()
        assert self.nodes[host].poll() is None, text
        return "Ray runtime started" in text

    def kill(self, host: str) -> None:
        """SIGKILL to all of a node's processes, as in a power cut."""
        process = self.nodes.pop(host)
        family = processes_below(process.pid)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not alive(family))

    def stop(self) -> None:
        """All nodes, the head last."""
        for host in reversed(list(self.nodes)):
            self.kill(host)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def local_cluster(
    *hosts: str, token: bool = True, cpus: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[LocalCluster]:
    """A cluster with a node at each of these loopback addresses, the first of them the head.

    environment: of the nodes, beyond this process's without RAY_ and PYTHONPATH.
    """
    folder = Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))  # pytest's path is too long for Ray's sockets
    cluster = LocalCluster(folder / "r", secrets.token_hex(16) if token else None, environment or {})
    cluster.folder.mkdir()
    try:
        for host in hosts or ("127.0.0.2", "127.0.0.3"):
            cluster.host = cluster.host if cluster.nodes else host
            cluster.start(host, cpus=cpus)
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)

"""A PostgreSQL server of a test's own: in a temporary folder, on a socket file, run by a user without rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER, PASSWORD = "tester", "s3cret"


def binaries() -> Path | None:
    """The folder of the server's programs, of the newest version there is."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class Server:
    """A server to start and stop; its data stay."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self.folder = programs, folder
        self.url = f"postgresql+psycopg://{USER}:{PASSWORD}@/postgres?host={folder}"
        password = folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:  # it refuses to be run by root
            shutil.chown(password, "nobody")
        self._run("initdb", "-D", "data", "-U", USER, "--pwfile=password", "-A", "scram-sha-256", "--no-sync")

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", "data")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.folder,
            user="nobody" if os.geteuid() == 0 else None,
            group="nogroup" if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL,  # a pipe would stay open for as long as the server runs
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )


@contextmanager
def running_server(programs: Path) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="nad-pg-", dir="/tmp") as folder:  # pytest's own is closed to other users
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        server = Server(programs, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()

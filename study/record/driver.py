"""Who runs a study: the process that holds its folder, written beside the lock so that others can say who it is."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "driver.json"


_PROC = Path("/proc")


@dataclass(frozen=True)
class Driver:
    """The process that runs a study."""

    host: str
    pid: int
    started: str
    """When it claimed the study: ISO 8601, UTC."""
    born: str = ""
    """The boot and the clock tick at which the process began, which no later process with its pid shares; empty where
    the system does not tell."""

    @classmethod
    def current(cls) -> Driver:
        """This process, from now on."""
        pid = os.getpid()
        return cls(platform.node(), pid, datetime.now(UTC).isoformat(timespec="seconds"), _born(pid) or "")

    @classmethod
    def read(cls, facts: Any) -> Driver | None:
        """What `facts` recorded; None for anything else, such as a file that was cut short."""
        if not isinstance(facts, Mapping):
            return None
        texts = [facts.get(name) for name in ("host", "started")]
        if not all(isinstance(text, str) for text in texts) or not isinstance(facts.get("pid"), int):
            return None
        return cls(facts["host"], facts["pid"], facts["started"], str(facts.get("born", "")))

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def is_this_process(self) -> bool:
        """Whenever it claimed the study."""
        return self == replace(Driver.current(), started=self.started)

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this host."""
        return self.host == platform.node()

    @property
    def alive(self) -> bool | None:
        """Whether it still runs; None for another host, where that cannot be told."""
        if not self.here:
            return None
        born = _born(self.pid)
        if born is not None:
            return bool(born) and self.born in ("", born)
        return _exists(self.pid)

    @property
    def gone(self) -> bool:
        """Whether it has ended for sure. One of another boot may have run on another machine of the same name."""
        boot = self.born.partition(":")[0]
        return self.alive is False and boot in ("", _boot() or boot)

    def __str__(self) -> str:
        """Such as `process 1234 on host a since 12 minutes`."""
        return f"process {self.pid} on host {self.host}{_since(self.started)}"


def driver_of(folder: Path) -> Driver | None:
    """The driver that claimed the study in this folder and has not left it; None where nobody has."""
    try:
        return Driver.read(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _born(pid: int) -> str | None:
    """Boot and start of a process; empty for one that is gone; None where there is no /proc."""
    boot = _boot()
    if boot is None:
        return None
    try:
        # the name, in brackets, may hold spaces and brackets itself
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    ended = fields[0] in "ZX"
    return "" if ended else f"{boot}:{fields[19]}"


def _boot() -> str | None:
    """This machine's, which no other one shares; None where there is no /proc."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _since(started: str) -> str:
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()
    except (ValueError, TypeError):
        return ""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f" since {count} {unit}{'s' if count > 1 else ''}"
    return " since less than a minute"

"""A study's driver, the process running it, named beside the folder's lock."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

FILE = "driver.json"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Driver:
    """The process that runs a study."""

    host: str
    pid: int
    started: str
    """Time of its claim on the study: ISO 8601, UTC."""
    born: str = ""
    """BOOT:TICKS, the boot's id and the process's start in clock ticks since then; empty on systems without such an id.
    Tells the process from later ones with its pid."""

    @classmethod
    def current(cls) -> Driver:
        """This process, from now on."""
        pid = os.getpid()
        return cls(platform.node(), pid, datetime.now(UTC).isoformat(timespec="seconds"), _born(pid))

    @classmethod
    def read(cls, facts: Any) -> Driver | None:
        """The recorded driver; None for anything else, such as a torn file."""
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
        """True on this host."""
        return self.host == platform.node()

    @property
    def alive(self) -> bool | None:
        """True while it runs; None on another host, out of sight from here."""
        if not self.here:
            return None
        try:
            born = _born(self.pid)
        except (psutil.NoSuchProcess, ValueError):  # ValueError: of a pid that no system has
            return False
        return "" in (self.born, born) or self.born == born

    @property
    def gone(self) -> bool:
        """True once it has surely ended; one of another boot may live on a namesake machine."""
        boot = self.born.partition(":")[0]
        return self.alive is False and boot in ("", _boot() or boot)

    def __str__(self) -> str:
        """Such as `process 1234 on host a since 12 minutes`."""
        return f"process {self.pid} on host {self.host}{_since(self.started)}"


def driver_of(folder: Path) -> Driver | None:
    """The driver named in this folder; None after it left in order."""
    try:
        return Driver.read(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _born(pid: int) -> str:
    """BOOT:TICKS of a process; empty on systems without a boot id.  Raises: psutil.NoSuchProcess."""
    process = psutil.Process(pid)
    if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
        raise psutil.NoSuchProcess(pid)
    boot = _boot()
    return f"{boot}:{round(_since_boot(pid) * os.sysconf('SC_CLK_TCK'))}" if boot else ""


def _since_boot(pid: int) -> float:
    """Seconds from the boot to the start of a process."""
    while True:
        booted = psutil.boot_time()
        seconds = psutil.Process(pid).create_time() - booted
        if psutil.boot_time() == booted:  # psutil's times move with the system's clock: both must be of one reading
            return seconds


def _boot() -> str:
    """This boot's id, unique among all machines; empty on systems without one."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


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

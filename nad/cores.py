"""Number of CPU cores available to this process."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cores() -> int:
    """CPU cores available to this process; at least 1.

    The lesser of its affinity and its cgroup's quota. A quota of one and a half cores counts as one: a second thread
    would be stopped for half of each period.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(allowed, cpu_quota())))


def cpu_quota(root: Path = Path("/")) -> float:
    """Least CPU quota of this process's cgroups and their parents, in cores; infinite without one.

    root: of the file system. Cgroups of both versions are read; unreadable ones set no quota. The standard library
    knows no quotas. Ray reads only the top of the hierarchy: this process's cgroup in a container, but not elsewhere.
    """
    quotas = (_quota_of(folder) for folder in _cgroups(root))
    return min((quota for quota in quotas if quota > 0), default=math.inf)


def _cgroups(root: Path) -> Iterator[Path]:
    """Folders of this process's CPU cgroups, each with those above it."""
    places = dict(_hierarchies(_lines(root / "proc/self/mountinfo")))
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        kind = "cpu" if "cpu" in controllers.split(",") else controllers
        if kind not in places:
            continue
        top, mounted = places[kind]
        inside = PurePosixPath(path)
        # A container may see its own cgroup as the top of the hierarchy, under a path known only to the host
        below = inside.relative_to(mounted) if inside.is_relative_to(mounted) else PurePosixPath()
        folder = root / top.relative_to("/")
        yield from (folder / part for part in (below, *below.parents))


def _hierarchies(mounts: list[str]) -> Iterator[tuple[str, tuple[PurePosixPath, PurePosixPath]]]:
    """Kind ("" for version 2, "cpu" for version 1), mount point and mounted cgroup."""
    for line in mounts:
        before, _, after = line.partition(" - ")
        mounted, top = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(",")):
            yield ("" if kind == "cgroup2" else "cpu"), (PurePosixPath(top), PurePosixPath(mounted))


def _quota_of(folder: Path) -> float:
    """Quota in cores; not positive without one."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    if not words:
        words = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else 0.0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []

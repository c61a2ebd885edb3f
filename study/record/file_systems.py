"""Which file system a path is on, as far as the kernel tells."""

from __future__ import annotations

import re
from pathlib import Path

LOCAL = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "tmpfs", "ramfs", "overlay", "aufs")
)
"""File systems of one machine alone, on which locks and shared memory work as SQLite's write-ahead log needs them."""

_MOUNTS = Path("/proc/self/mounts")


def is_local(path: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether no other machine can have this path open. Anything unknown counts as remote; no table of mounts as local.

    mounts: the kernel's table.
    """
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return True
    return _type_of(path.resolve(), table) in LOCAL


def _type_of(path: Path, table: str) -> str:
    """The type of the mount that the path lies in: the longest one, and of two on one place the later."""
    best, kind = -1, ""
    for line in table.removesuffix("\n").split("\n"):  # names may have other ends of lines
        _device, place, mounted, *_ = line.split(" ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), mounted
    return kind

"""The kind of file system under a path: local or shared between machines."""

from __future__ import annotations

import re
from pathlib import Path

LOCAL = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "tmpfs", "ramfs", "overlay", "aufs")
)
"""File systems of one machine, with working locks and shared memory for SQLite's write-ahead log."""

_MOUNTS = Path("/proc/self/mounts")


def is_local(path: Path, mounts: Path = _MOUNTS) -> bool:
    """True if no other machine can open this path.

    Unknown file systems count as shared; a machine without a table of mounts as local.
    mounts: the kernel's table. psutil reads /etc/mtab first, and an old one there would hide a network's mount.
    """
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return True
    return _type_of(path.resolve(), table) in LOCAL


def _type_of(path: Path, table: str) -> str:
    """The file system's type at the longest mount; of equals the last."""
    best, kind = -1, ""
    for line in table.removesuffix("\n").split("\n"):  # names may have other ends of lines
        _device, place, mounted, *_ = line.split(" ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), mounted
    return kind

"""Private temporary folders; the next process removes those of killed ones."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nad.errors import NadError

_PREFIX = "nad-"
_LOCK = "in-use.lock"
_YOUNG = 60.0  # seconds: younger folders may not be locked yet
_PLAIN = re.compile(r"[A-Za-z0-9/._-]{1,22}")
"""Names accepted by Ray: its sockets add 83 characters to the path, and the kernel allows 107."""
_ELSEWHERE = "/tmp"  # noqa: S108 - the folders in it are private


def temporary_base() -> Path:
    """The folder for temporary files; /tmp if Ray cannot take its name.

    Raises: NadError if no folder can be written to.
    """
    try:
        base = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise NadError(
            "no folder for temporary files can be written to, neither that in TMPDIR nor /tmp; free some space, or"
            " name another one in TMPDIR"
        ) from error
    return Path(base if _PLAIN.fullmatch(base) else _ELSEWHERE)


@contextmanager
def scratch_folder(base: Path) -> Iterator[Path]:
    """A new folder in `base`, private to this user, removed at the end.

    The kernel frees the lock of a killed process; the next process sees that and removes the folder.
    Raises: NadError if it cannot be made.
    """
    _sweep(base)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        lock = FileLock(folder / _LOCK)
        lock.acquire()
    except OSError as error:
        raise NadError(f"cannot make a temporary folder in {base}: {error.strerror}; free some space there") from error
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            found = folder.lstat()
            own = not folder.is_symlink() and (not hasattr(os, "getuid") or found.st_uid == os.getuid())
            if not own or abs(time.time() - found.st_mtime) < _YOUNG or not (folder / _LOCK).exists():
                continue
            with FileLock(folder / _LOCK, timeout=0):
                pass
        except (OSError, Timeout):  # gone in between, or in use
            continue
        shutil.rmtree(folder, ignore_errors=True)

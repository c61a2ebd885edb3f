"""A study's record as an Optuna journal, safe on shared file systems."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from nad.errors import NadError

_BEGINNING = b'{"op_code"'
_BLOCK = 2**16


def open_journal(path: Path, say: Callable[[str], None]) -> JournalStorage:
    """The journal in this file, made if missing.

    Raises: OSError if the file cannot be written; NadError for another kind of file, or damage before its end.
    """
    lock = _MendingLock(path, say)
    try:
        backend = JournalFileBackend(str(path), lock_obj=lock)
        lock.acquire()
        lock.release()
        return JournalStorage(backend)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NadError(
            f"the journal {path} is damaged before its end ({error}); restore it from a backup or choose another"
            " --storage"
        ) from error


class _MendingLock(JournalFileOpenLock):
    """The writers' lock; on taking it, a line torn by a killed writer is mended.

    It is an exclusively created file: that works on NFS since version 3, SMB and FUSE, unlike links.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        super().__init__(str(path))
        self._path, self._say = path, say

    def acquire(self) -> bool:
        super().acquire()
        try:
            cut = mend(self._path)
        except BaseException:
            self.release()
            raise
        if cut:
            self._say(f"the journal {self._path} ended in the middle of a record: its last {cut} bytes were cut off")
        return True


def mend(path: Path) -> int:
    """Cut off a torn last line; returns its number of bytes.

    A whole record without its line's end is kept.  The caller holds the writers' lock.
    Raises: NadError for a file without a journal's beginning; it is left unchanged.
    """
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        start = _last_line(file, end)
        file.seek(start)
        tail = file.read()
        if end and not _is_journal(file):
            raise NadError(f"{path} is no Optuna journal; choose another file for --storage")
        if not tail:
            return 0
        if whole := _is_record(tail):
            file.seek(end)
            file.write(b"\n")
        else:
            file.truncate(start)
        file.flush()
        os.fsync(file.fileno())
    return 0 if whole else len(tail)


def _last_line(file: BinaryIO, end: int) -> int:
    """Offset after the last line's end."""
    while end > 0:
        begin = max(0, end - _BLOCK)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _is_journal(file: BinaryIO) -> bool:
    file.seek(0)
    first = file.readline()
    if first.endswith(b"\n"):
        return _is_record(first)
    return first.startswith(_BEGINNING) or _BEGINNING.startswith(first)


def _is_record(line: bytes) -> bool:
    """False for a torn record: JSON needs its last bracket."""
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record

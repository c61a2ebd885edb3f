"""Reading a study's files, and writing beside them: whole files, or one sentence about the fault."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


class ReportError(Exception):
    """A report cannot be built: one sentence with the value and the remedy."""


class NotBegunError(ReportError):
    """The study has no trials yet, so there is nothing to report."""


def damaged(path: Path, what: str) -> ReportError:
    """The error for an unusable file; one remedy serves all, because the study's record is elsewhere."""
    return ReportError(f"{str(path)!r} {what}; run the study's command again to write it anew from its record")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the file at once, or leave it as it was: a reader sees the old one or the new one. Its mode is 0600.

    Raises: ReportError when it cannot be written.
    """
    if path.is_dir():
        raise ReportError(f"{str(path)!r} cannot be written: it is a folder; give a file's name")
    if not path.parent.is_dir():
        raise ReportError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}; make it first")
    try:
        _replace(path, content)
    except OSError as error:
        raise ReportError(
            f"{str(path)!r} cannot be written: {error.strerror}; free some space or change the folder's permissions"
        ) from error


def write_text(path: Path, text: str) -> None:
    """The same for text; lone surrogates, allowed in JSON but not in UTF-8, become question marks."""
    write_bytes(path, text.encode("utf-8", errors="replace"))


def read_bytes(path: Path) -> bytes:
    """Raises: ReportError when the file is not there or may not be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ReportError(f"{str(path)!r} cannot be read: there is no such file; name one that is there") from error
    except OSError as error:
        raise ReportError(f"{str(path)!r} cannot be read ({error.strerror}); check its permissions") from error


def read_text(path: Path) -> str:
    """Raises: ReportError when the file may not be read or is not UTF-8."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, "is not UTF-8 text") from error


def read_json(path: Path) -> dict[str, Any]:
    """Raises: ReportError when the file does not hold one whole JSON object."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise damaged(path, f"is not whole JSON ({error})") from error
    if not isinstance(content, dict):
        raise damaged(path, "does not hold a JSON object")
    return content


def _replace(path: Path, content: bytes) -> None:
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise

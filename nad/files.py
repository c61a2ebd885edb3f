"""Atomic writing of files, and file names for libraries."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def utf8_name(path: Path) -> Iterator[Path]:
    """A name for a file to read, for libraries that take UTF-8 alone; the file's own may be any bytes.

    Raises: OSError for a file that cannot be opened.
    """
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        with path.open("rb") as file:
            yield Path(f"/proc/self/fd/{file.fileno()}")  # only Linux has such names
    else:
        yield path


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path beside `path`, to write to; renamed to `path` at the end of the block, removed after an error.

    Readers see the whole file or none. No other writer, in this process or another, gets the same path.
    """
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)

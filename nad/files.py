"""Files that are whole or not there, and names that libraries can take."""

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
    """A path to write to; what is there at the end of the block becomes `path`, and nothing does where that fails.

    A reader sees the whole file or none, and no other writer, in whatever process, is given the same path.
    """
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)

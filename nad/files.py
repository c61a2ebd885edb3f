"""Atomic writing of files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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

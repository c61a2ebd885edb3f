"""Files that are whole or not there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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

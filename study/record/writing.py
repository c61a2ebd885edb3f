"""Atomic writing of a study's files, readable by their owner alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nad.errors import NadError


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """As `write_bytes`; values unknown to JSON become texts."""
    write_bytes(path, (json.dumps(content, indent=2, default=str) + "\n").encode())


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8, with question marks for other bytes in file names."""
    write_bytes(path, text.encode(errors="replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside, then rename.  Raises: NadError on failure; the file is then unchanged."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        raise NadError(
            f"cannot write {path}: {error.strerror}; free some space or choose another --output, then run the same"
            " command again: finished trials are kept"
        ) from error

"""Identity of the running code: a digest of this tool's files, and the libraries' places."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("nad", "search_spaces", "study", "reports")
"""This tool's own; they travel to the nodes of a cluster."""

_LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "skimage", "PIL", "optuna", "ray", "json", "random")
"""Libraries of a trial, and two modules of Python as samples: a file of that name in the wrong folder shadows them."""


class Code(NamedTuple):
    """Equal in two processes of one machine if they import the same files."""

    digest: str
    """Of this tool's files."""
    places: tuple[tuple[str, str], ...]
    """Each module's name and file."""


@cache
def digest() -> str:
    """SHA-256 over names and contents of this tool's Python files, as imported here."""
    total = hashlib.sha256()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in sorted((spec and spec.submodule_search_locations) or ()):
            for path in sorted(Path(folder).rglob("*.py")):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                total.update(f"{package}/{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()


def imported() -> Code:
    """Code of this process, found without importing anything."""
    return Code(digest(), tuple((name, _place(name)) for name in (*PACKAGES, *_LIBRARIES)))


def differences(there: Code, here: Code) -> str:
    """Such as `numpy from /tmp/numpy.py (here /usr/lib/.../numpy/__init__.py)`; empty for equal code."""
    others = [
        f"{name} from {place} (here {mine})"
        for (name, place), (_, mine) in zip(there.places, here.places, strict=True)
        if place != mine
    ]
    return ", ".join(others) or ("" if there.digest == here.digest else f"files of {', '.join(PACKAGES)} that differ")


def _place(name: str) -> str:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return "nowhere"
    return (spec and spec.origin) or "nowhere"

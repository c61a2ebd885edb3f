"""What a node of a cluster says of itself. Imports nothing that may be missing there: that is one of the answers."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from study.engine.code import digest


class Facts(NamedTuple):
    """Python's and the packages' versions, why the study's code cannot be imported (else empty), and its digest."""

    versions: dict[str, str]
    failure: str
    code: str


def describe(packages: Sequence[str], modules: Sequence[str]) -> Facts:
    """The facts of the machine that this runs on.

    packages: by the names that they are installed under; one that is missing has no version.
    modules: to be imported, as a trial would.
    """
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    try:
        for module in modules:
            importlib.import_module(module)
    except Exception as error:
        return Facts(found, f"{type(error).__name__}: {error}", "")
    return Facts(found, "", digest())

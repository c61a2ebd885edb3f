"""Versions and code of a cluster's node. Imports only packages present on any node."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from study.engine.code import digest


class Facts(NamedTuple):
    """Versions of Python and packages; the code's import error, or empty; its digest."""

    versions: dict[str, str]
    failure: str
    code: str


def describe(packages: Sequence[str], modules: Sequence[str]) -> Facts:
    """The facts of this machine.

    packages: names of distributions; missing ones are left out.  modules: imported as a trial would.
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

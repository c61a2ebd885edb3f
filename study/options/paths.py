"""Paths from users: `~` and `~name` for home folders, with errors for missing ones."""

from __future__ import annotations

import os
from pathlib import Path

from nad.errors import ConfigError

NO_HOME = "/nonexistent"
"""Debian's name for the home of a user without one."""


def settle_home() -> None:
    """Give a process without a home folder a HOME; Ray's import needs one.

    A relative HOME counts as none: it would put caches into the current folder.
    """
    if not os.path.isabs(os.environ.get("HOME", "")):
        os.environ.pop("HOME", None)
        if not os.path.isabs(os.path.expanduser("~")):  # none in the user database either
            os.environ["HOME"] = NO_HOME


def expanded(path: Path, option: str) -> Path:
    """The path with `~` replaced.  option: its source, for errors.

    Raises: ConfigError for a missing home folder.
    """
    named = path.parts[0] if path.parts else ""
    try:
        found = path.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{option} {str(path)!r}: there is no home folder {named}; write the path in full") from (
            error
        )
    if named == "~" and found.is_relative_to(NO_HOME):
        raise ConfigError(f"{option} {str(path)!r}: this user has no home folder; set HOME, or write the path in full")
    return found

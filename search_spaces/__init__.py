"""Search spaces by name. A new one is one file and one line in SPACES."""

from __future__ import annotations

from nad.errors import unknown_name
from search_spaces.base import Control, Domain, Params, Point, SearchSpace
from search_spaces.nad import NAD
from search_spaces.nad_steps import NAD_STEPS
from search_spaces.nad_wide import NAD_WIDE

__all__ = ["SPACES", "Control", "Domain", "Params", "Point", "SearchSpace", "get"]

SPACES: dict[str, SearchSpace] = {
    "nad": NAD,
    "nad-steps": NAD_STEPS,
    "nad-wide": NAD_WIDE,
}


def get(name: str) -> SearchSpace:
    """A space by its name.  Raises: ConfigError for an unknown one."""
    if name not in SPACES:
        raise unknown_name("search space", name, SPACES)
    return SPACES[name]

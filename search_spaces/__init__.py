"""Search spaces by name. A new one is one file and one line in SPACES."""

from __future__ import annotations

from nad.errors import unknown_name
from search_spaces.base import Control, Domain, Params, Point, SearchSpace
from search_spaces.fine_tuning import FINE_TUNING
from search_spaces.nad import NAD
from search_spaces.nad_published import NAD_PUBLISHED

__all__ = ["SPACES", "Control", "Domain", "Params", "Point", "SearchSpace", "get"]

SPACES: dict[str, SearchSpace] = {
    "nad": NAD,
    "nad-published": NAD_PUBLISHED,
    "fine-tuning": FINE_TUNING,
}


def get(name: str) -> SearchSpace:
    """A space by its name.  Raises: ConfigError for an unknown one."""
    if name not in SPACES:
        raise unknown_name("search space", name, SPACES)
    return SPACES[name]

"""Neural Attention Distillation: backdoor attacks on image classifiers, and their erasure.

The science, without studies, searches or reports. Its shortest use is `nad.erase`: any network, any images.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nad.any_model import Erased, erase
    from nad.erasure import PRESETS, EraseConfig
    from nad.errors import ConfigError, DataError, EraseDiverged, NadError
    from nad.training import TrainConfig

SCIENCE_VERSION = 1
"""Raise it once the same settings and seed give another trial; older studies cannot be resumed then."""

__all__ = [
    "PRESETS",
    "SCIENCE_VERSION",
    "ConfigError",
    "DataError",
    "EraseConfig",
    "EraseDiverged",
    "Erased",
    "NadError",
    "TrainConfig",
    "erase",
]

_HOMES = {
    "nad.any_model": ("Erased", "erase"),
    "nad.erasure": ("PRESETS", "EraseConfig"),
    "nad.errors": ("ConfigError", "DataError", "EraseDiverged", "NadError"),
    "nad.training": ("TrainConfig",),
}


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and the error tree does not need it."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

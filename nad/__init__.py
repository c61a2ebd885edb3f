"""Neural Attention Distillation: backdoor attacks on image classifiers, and their erasure.

This package is the science: torch, beside it what reads images and keeps files, and nothing of studies, searches or
reports.
`nad.erase` is its shortest use: any network, any images.
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
"""Raised when the same settings and seed no longer give the same trial: studies from before cannot go on then."""

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
    """Imported when first used: torch takes seconds, and the error tree does not need it."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

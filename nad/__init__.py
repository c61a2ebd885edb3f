"""Neural Attention Distillation: backdoor attacks on image classifiers, and their erasure.

This package is the science. It imports torch, torchvision and numpy, and knows nothing of studies, searches or reports.
`nad.erase` is its shortest use: any network, any images.
"""

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

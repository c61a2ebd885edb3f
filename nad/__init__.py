"""Neural Attention Distillation: backdoor attacks on image classifiers, and their erasure.

This package is the science. It imports torch, torchvision and numpy, and knows nothing of studies, searches or reports.
`nad.erase` is its shortest use: any network, any images.
"""

from nad.any_model import Erased, erase
from nad.erasure import PRESETS, EraseConfig
from nad.errors import ConfigError, DataError, EraseDiverged, NadError
from nad.training import TrainConfig

__all__ = [
    "PRESETS",
    "ConfigError",
    "DataError",
    "EraseConfig",
    "EraseDiverged",
    "Erased",
    "NadError",
    "TrainConfig",
    "erase",
]

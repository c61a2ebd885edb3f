"""The circumstances of a training, shared by fine-tuning, distillation and every defence."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nad.precision import Precision
from nad.progress import Progress


def no_progress(_done: int, _total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True, kw_only=True)
class TrainContext:
    """Randomness, device and precision of a training, apart from its hyperparameters."""

    flip: bool
    """Train on mirrored images too."""
    generator: torch.Generator
    """Source of batch order, augmentation and dropout; on the CPU."""
    device: torch.device | None = None
    """None: the model's own device."""
    precision: Precision = "float32"
    """Of the passes; weights and losses are always in single precision."""
    progress: Progress = no_progress
    """Called after each epoch with epochs done and all epochs."""

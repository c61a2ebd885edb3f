"""Slow work that a cache saves, in a form that can be done on another machine."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nad.checkpoints import Checkpoint
from nad.progress import Progress

Work = Callable[[torch.device | None, Progress | None], Checkpoint]
"""Holds everything that it needs, and can be pickled: called with a device and a progress, it makes a checkpoint."""

Runner = Callable[[Work, torch.device | None, Progress | None], Checkpoint]
"""Where work is done: gets it, and the device and the progress that it would have here."""


def run_here(work: Work, device: torch.device | None, progress: Progress | None) -> Checkpoint:
    """In this process."""
    return work(device, progress)

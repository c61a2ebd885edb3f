"""Slow, cached work, in a form for this machine or another."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nad.checkpoints import Checkpoint
from nad.progress import Progress

Work = Callable[[torch.device | None, Progress | None], Checkpoint]
"""Picklable work with all its inputs; called with a device and a progress, it makes a checkpoint."""

Runner = Callable[[Work, torch.device | None, Progress | None], Checkpoint]
"""Place of the work: called with the work, and its device and progress on this machine."""


def run_here(work: Work, device: torch.device | None, progress: Progress | None) -> Checkpoint:
    """Do the work in this process."""
    return work(device, progress)

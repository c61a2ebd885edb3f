"""Slow, cached work, in a form for this machine or another."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nad.checkpoints import Checkpoint
from nad.progress import Progress
from nad.threads import following_load, said

Work = Callable[[torch.device | None, Progress | None], Checkpoint]
"""Picklable work with all its inputs; called with a device and a progress, it makes a checkpoint."""

Runner = Callable[[Work, torch.device | None, Progress | None], Checkpoint]
"""Place of the work: called with the work, and its device and progress on this machine."""


def run_here(work: Work, device: torch.device | None, progress: Progress | None) -> Checkpoint:
    """Do the work in this process, in as many threads as the load leaves; the card counts steps by threads."""
    with following_load() as threads:
        threads.look()
        before = threads.steps.copy()
        made = work(device, progress)
    return Checkpoint(made.state, {**made.card, "threads": said(threads.steps - before)})

"""Slow work that a cache saves, in a form that can be done on another machine."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nad.checkpoints import Checkpoint
from nad.progress import Progress
from nad.threads import following_load, said

Work = Callable[[torch.device | None, Progress | None], Checkpoint]
"""Holds everything that it needs, and can be pickled: called with a device and a progress, it makes a checkpoint."""

Runner = Callable[[Work, torch.device | None, Progress | None], Checkpoint]
"""Where work is done: gets it, and the device and the progress that it would have here."""


def run_here(work: Work, device: torch.device | None, progress: Progress | None) -> Checkpoint:
    """In this process, in as many threads as the load leaves; `threads` on the card has steps by number of threads."""
    with following_load() as threads:
        threads.look()
        before = threads.steps.copy()
        made = work(device, progress)
    return Checkpoint(made.state, {**made.card, "threads": said(threads.steps - before)})

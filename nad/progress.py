"""Callbacks for the progress of long work."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""(done, total), in the work's own units: epochs, steps, batches."""

StagedProgress = Callable[[str, int, int], None]
"""(stage, done, total)."""

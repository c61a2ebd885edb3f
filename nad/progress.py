"""How long work tells of itself, without knowing who watches."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""(done, all), in units of the work's own: epochs, steps, batches."""

StagedProgress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

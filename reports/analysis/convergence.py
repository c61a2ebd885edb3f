"""Flat searches: the stopping rule of `--until-converged`, and the report's threshold."""

from __future__ import annotations

from typing import NamedTuple

from reports.analysis.frontier import hypervolume
from reports.analysis.objectives import Floats

FLAT = 0.01
"""Flat: the last settings added less than this share of the hypervolume."""
LEAST_SETTINGS = 30
"""Fewest settings before a stop; controls and portfolio are among them."""


class Plateau(NamedTuple):
    """After so many settings, the most recent ones had added so much to the hypervolume."""

    settings: int
    recent: int
    added: float
    hypervolume: float

    def __str__(self) -> str:
        return (
            f"The study stopped by itself after {self.settings} settings, because the last {self.recent} added"
            f" {self.added:.4f} to a hypervolume of {self.hypervolume:.4f}, less than {FLAT:.0%}."
        )


def plateau(costs: Floats) -> Plateau | None:
    """A plateau if the last half of the settings added under 1% of the hypervolume, else None.

    A third of the settings is too few: a sampler at one end of the front may leave the hypervolume unchanged for ten.
    costs: (n, 2) of settings, in the order they were first finished.  None below 30 or at a hypervolume of 0.
    """
    count = len(costs)
    recent = count // 2
    if count < LEAST_SETTINGS:
        return None
    last = hypervolume(costs)
    added = last - hypervolume(costs[:-recent])
    return Plateau(count, recent, added, last) if added < FLAT * last else None

"""Flat searches: the stopping rule of `--until-converged`, and the report's threshold."""

from __future__ import annotations

from typing import NamedTuple

from reports.analysis.frontier import hypervolume
from reports.analysis.objectives import Floats

FLAT = 0.01
"""Flat: the last trials added less than this share of the hypervolume."""
LEAST_TRIALS = 30
"""Fewest complete trials before a stop; controls and a sampler's first draws are among them."""


class Plateau(NamedTuple):
    """After so many complete trials, the most recent ones had added so much to the hypervolume."""

    trials: int
    recent: int
    added: float
    hypervolume: float

    def __str__(self) -> str:
        return (
            f"The study stopped by itself after {self.trials} complete trials, because the last {self.recent} added"
            f" {self.added:.4f} to a hypervolume of {self.hypervolume:.4f}, less than {FLAT:.0%}."
        )


def plateau(costs: Floats) -> Plateau | None:
    """A plateau if the last half of the trials added under 1% of the hypervolume, else None.

    A third of the trials is too few: a sampler at one end of the front may leave the hypervolume unchanged for ten.
    costs: (n, 2) of complete trials, in the order they finished.  None below 30 trials or at a hypervolume of 0.
    """
    count = len(costs)
    recent = count // 2
    if count < LEAST_TRIALS:
        return None
    last = hypervolume(costs)
    added = last - hypervolume(costs[:-recent])
    return Plateau(count, recent, added, last) if added < FLAT * last else None

"""When a search has run flat: the rule by which a study stops by itself, and the share that the report goes by."""

from __future__ import annotations

from typing import NamedTuple

from reports.analysis.frontier import hypervolume
from reports.analysis.objectives import Floats

FLAT = 0.01
"""A search whose last trials added less than this share of the hypervolume has run flat."""
LEAST_TRIALS = 30
"""Complete trials before which no search stops by itself: the controls are among them, and a sampler's first draws."""


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
    """Whether the last half of the trials added less than 1% of the hypervolume; None where it added more.

    A third of them is too few: a sampler that works on one end of the front lets the hypervolume rest for ten trials.
    costs: (n, 2) of complete trials, in the order they finished.  Never with fewer than 30, or at a hypervolume of 0.
    """
    count = len(costs)
    recent = count // 2
    if count < LEAST_TRIALS:
        return None
    last = hypervolume(costs)
    added = last - hypervolume(costs[:-recent])
    return Plateau(count, recent, added, last) if added < FLAT * last else None

"""Asynchronous successive halving for two objectives, as pure functions.

At each rung a trial is ranked among all seen there: by non-domination, within a front by its contribution to the
spread. The best 1/eta go on. Nothing waits: early trials meet few others.
Source: Schmucker, Donini, Zafar, Salinas, Archambeau 2021, "Multi-objective Asynchronous Successive Halving".

A rung is a number of epochs, not a share of a trial's own. The published schedules set the learning rate by the epochs
done, so equal trials of 4 and of 20 epochs are the same until epoch 4; a share would compare an epoch at the full rate
with one at a tenth of it. A trial shorter than the rung is compared by its last scores: longer trials must earn their
further epochs.

Scores at a high learning rate say little: the accuracy comes back as the rate falls. So trials are compared only once
they have `settled`: see `settled_from`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from reports.analysis.frontier import fronts
from reports.analysis.objectives import Floats

RUNGS = (4, 8, 16)
"""Epochs. Both published schedules divide the learning rate after two. One epoch later the accuracy is still coming
back, and some of the best erases score badly. `python -m benchmarks.pruning` compares other rungs."""
ETA = 2.0
"""One of so many goes on from a rung."""
SETTLED = 0.1
"""The published schedules' first step."""


class Seen(NamedTuple):
    """A trial's scores so far."""

    costs: Floats
    """(epochs done, 2), after each epoch; see reports.objectives."""
    epochs: int
    """Its planned number."""
    settled: int
    """First epoch with scores comparable to other trials'."""
    complete: bool
    """False for a running or stopped trial."""
    balanced_acc: float
    """Mean accuracy over classes, after the last epoch done."""


@dataclass(frozen=True)
class Halving:
    """The rule for stopping a trial early."""

    floor: float
    """Balanced accuracy within reach of guessing."""
    rungs: tuple[int, ...] = RUNGS
    eta: float = ETA

    def objection(self, trial: Seen, others: Iterable[Seen]) -> str:
        """Why a trial should stop now; empty if it should go on.

        others: the study's other trials in a fixed order, as the first of equals ranks first; read only at a rung.
        """
        done = len(trial.costs)
        if not 0 < done < trial.epochs:
            return ""
        after = f"after {done} of {trial.epochs} epochs"
        if done >= max(trial.settled, trial.epochs / 2) and trial.balanced_acc <= self.floor:
            return f"{after} its balanced accuracy, {trial.balanced_acc:.1%}, is no better than chance"
        ours = at_rung(trial, done) if done in self.rungs else None
        if ours is None:
            return ""
        found = [costs for other in others if (costs := at_rung(other, done)) is not None]
        rank, count = rank_of_last(np.array([*found, ours])), len(found) + 1
        best = math.ceil(count / self.eta)
        return "" if rank <= best else f"{after} it ranked {rank} of {count}, and the best {best} go on"


def chance_floor(labels: Tensor) -> float:
    """Balanced accuracy on these labels exceeded by guessing in about one case of forty.

    Two standard errors over 1/classes, assuming classes of equal size. With rare classes the error is larger, but a
    higher floor would stop models that know half of the classes. A constant answer scores exactly 1/classes.
    """
    guess = 1 / int((labels.bincount() > 0).sum())
    return guess + 2 * math.sqrt(guess * (1 - guess) / len(labels))


def settled_from(factor: Callable[[float, int], float], epochs: int) -> int:
    """First epoch (from 1) at a tenth of the highest learning rate or less.

    Returns epochs + 1 for none.  factor: a schedule, see nad.training.SCHEDULES.
    """
    highest = 0.0
    for epoch in range(epochs):
        rates = [factor(epoch + share, epochs) for share in (0.0, 0.25, 0.5, 0.75)]
        highest = max(highest, *rates)
        if max(rates) <= SETTLED * highest * (1 + 1e-9):
            return epoch + 1
    return epochs + 1


def at_rung(seen: Seen, rung: int) -> Floats | None:
    """A trial's costs after at most so many epochs; None if unknown or not settled."""
    if len(seen.costs) >= rung:
        return seen.costs[rung - 1] if rung >= seen.settled else None
    return seen.costs[-1] if seen.complete and len(seen.costs) else None


def rank_of_last(costs: Floats) -> int:
    """Rank, from 1, of the last point.  costs: (n, 2), n at least 1."""
    level = fronts(costs)
    ahead = int((level < level[-1]).sum())
    (peers,) = np.nonzero(level == level[-1])
    return ahead + 1 + spread(costs[peers]).index(len(peers) - 1)


def spread(costs: Floats) -> list[int]:
    """Order a front's points by their coverage: an epsilon-net, as in the paper.

    First the point nearest to (0, 0), then always the one furthest from all before it; the first of equals.
    Crowding distance would rank both of two near-identical points low, such as fine-tuning's many look-alikes here; a
    net keeps one of them.
    costs: (n, 2), n at least 1.  Returns indices.
    """
    order = [int((costs**2).sum(axis=1).argmin())]
    distance = np.full(len(costs), np.inf)
    while len(order) < len(costs):
        distance = np.minimum(distance, np.linalg.norm(costs - costs[order[-1]], axis=1))
        distance[order] = -1.0
        order.append(int(distance.argmax()))
    return order

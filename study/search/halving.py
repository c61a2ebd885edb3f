"""Which trials are worth finishing: asynchronous successive halving for two objectives, as pure functions.

At each rung a trial is ranked among all that have been seen there, first by non-domination, within a front by how much
it spreads the front, and goes on if it is among the best 1/eta of them. Nothing waits: early trials meet few others.
Source: Schmucker, Donini, Zafar, Salinas, Archambeau 2021, "Multi-objective Asynchronous Successive Halving".

A rung is a number of epochs done, not a share of a trial's own epochs: where the learning rate follows the epochs done,
as in both published schedules, trials of 4 and of 20 epochs that agree in all else are the same trial until epoch 4,
and a share would compare an epoch at the full rate with one at a tenth of it. What is compared is what a trial has to
show for at most so many epochs: one that ended before the rung stands there with its last scores, and a longer trial
has to earn its further epochs against it.

An epoch at a high learning rate says little, for the accuracy comes back when the rate falls. So a trial is looked at
only once it has `settled`: see `settled_from`.
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
"""Epochs. Both published schedules divide the learning rate after two; one epoch later the accuracy is still coming
back, and some of the best erases look lost. `python -m benchmarks.pruning` compares this with other rungs."""
ETA = 2.0
"""One of so many goes on from a rung."""
SETTLED = 0.1
"""The published schedules' first step."""


class Seen(NamedTuple):
    """What a trial has shown."""

    costs: Floats
    """(epochs done, 2), after each epoch; see reports.objectives."""
    epochs: int
    """All that it is to run."""
    settled: int
    """The first epoch whose scores can be compared with other trials'."""
    complete: bool
    """Whether it has run them; else it runs, or was stopped."""
    balanced_acc: float
    """After the last epoch done: how well it tells classes apart, however frequent each is."""


@dataclass(frozen=True)
class Halving:
    """When a trial is stopped before its end."""

    floor: float
    """A balanced accuracy that a classifier that knows nothing may reach."""
    rungs: tuple[int, ...] = RUNGS
    eta: float = ETA

    def objection(self, trial: Seen, others: Iterable[Seen]) -> str:
        """Why a trial should not go on after the epochs that it has done; empty if it should.

        others: all that the study has seen of others, in an order that never changes, for the first of equals ranks
            first; looked at only at a rung.
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
    """The balanced accuracy on images of these labels that guessing exceeds in about one case of forty.

    Two standard errors over 1/classes, for as many images of each class that occurs. Where some are rare the error is
    larger, but a higher floor would stop models that know half of them; one answer for all is exactly 1/classes.
    """
    guess = 1 / int((labels.bincount() > 0).sum())
    return guess + 2 * math.sqrt(guess * (1 - guess) / len(labels))


def settled_from(factor: Callable[[float, int], float], epochs: int) -> int:
    """The first epoch (from 1) at no more than a tenth of the highest learning rate so far; epochs + 1 for none.

    factor: a schedule, see nad.training.SCHEDULES.
    """
    highest = 0.0
    for epoch in range(epochs):
        rates = [factor(epoch + share, epochs) for share in (0.0, 0.25, 0.5, 0.75)]
        highest = max(highest, *rates)
        if max(rates) <= SETTLED * highest * (1 + 1e-9):
            return epoch + 1
    return epochs + 1


def at_rung(seen: Seen, rung: int) -> Floats | None:
    """What a trial had to show for at most so many epochs; None where that cannot be told, or not compared."""
    if len(seen.costs) >= rung:
        return seen.costs[rung - 1] if rung >= seen.settled else None
    return seen.costs[-1] if seen.complete and len(seen.costs) else None


def rank_of_last(costs: Floats) -> int:
    """The place, from 1, of the last of the points.  costs: (n, 2), n at least 1."""
    level = fronts(costs)
    ahead = int((level < level[-1]).sum())
    (peers,) = np.nonzero(level == level[-1])
    return ahead + 1 + spread(costs[peers]).index(len(peers) - 1)


def spread(costs: Floats) -> list[int]:
    """The points of one front, those first that cover it best: an epsilon-net, as in the paper.

    First the one nearest to (0, 0), then again and again the one furthest from all before it; the first of equals.
    Crowding distance, the other way known, ranks both of two near-identical points low, and so may lose what they stand
    for: fine-tuning's many look-alikes are the usual case here. A net keeps one of them.
    costs: (n, 2), n at least 1.  Returns indices.
    """
    order = [int((costs**2).sum(axis=1).argmin())]
    distance = np.full(len(costs), np.inf)
    while len(order) < len(costs):
        distance = np.minimum(distance, np.linalg.norm(costs - costs[order[-1]], axis=1))
        distance[order] = -1.0
        order.append(int(distance.argmax()))
    return order

"""Savings and cost of --prune, replayed on a table of complete erases: `python -m benchmarks.pruning [TABLE.csv]`.

TABLE: trials.csv of a study with `--sampler random` and without --prune. Its trials are replayed in random orders,
controls first, on several workers in simulated time: a trial takes its recorded seconds, evenly over its epochs, and
reports its recorded curve. For each rule: the share of epochs run, and the hypervolume of the finished trials relative
to all trials; beside it the same for a study without pruning, stopped after as many epochs. The last line is JSON.

Trials come in random order: the effect of pruning on a learning sampler is not measured.
"""

from __future__ import annotations

import heapq
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import tyro

from benchmarks.recorded import RECORDED
from nad.errors import ConfigError, NadError
from nad.training import SCHEDULES
from reports.analysis.frontier import hypervolume
from reports.analysis.objectives import Floats, costs
from reports.files import ReportError
from reports.trial_table import read_curve, read_trials
from study.engine.erase_task import GLANCE
from study.search.halving import ETA, RUNGS, Halving, Seen, chance_floor, settled_from

SAME = 0.99
"""Least ratio of hypervolumes to count as equal; a study's growth also counts as over below 1%."""
MOST_COMPUTE = 0.7
"""Largest share of epochs for pruning to become the default."""


class Rule(NamedTuple):
    """by_share: rungs are quarters of a trial's own epochs, and every look counts; else epochs."""

    name: str
    rungs: tuple[int, ...]
    eta: float
    floor: bool = True
    by_share: bool = False


OURS = Rule(f"{RUNGS}, eta {ETA:g}: --prune", RUNGS, ETA)
RULES = (
    OURS,
    Rule("(4, 8, 16), eta 1.5", (4, 8, 16), 1.5),
    Rule("(4, 8, 16), eta 3", (4, 8, 16), 3.0),
    Rule("(3, 6, 12), eta 2", (3, 6, 12), 2.0),
    Rule("(3, 6, 12), eta 3", (3, 6, 12), 3.0),
    Rule("(5, 10), eta 2", (5, 10), 2.0),
    Rule("(4, 6, 9, 13), eta 2", (4, 6, 9, 13), 2.0),
    Rule("every epoch from 4, eta 2", tuple(range(4, 20)), 2.0),
    Rule("(4, 8, 16), eta 2, no floor", (4, 8, 16), 2.0, floor=False),
    Rule("only the floor", (), 2.0),
    Rule("1/4, 1/2 of own epochs, eta 2", (1, 2), 2.0, by_share=True),
    Rule("1/2 of own epochs, eta 3", (2,), 3.0, by_share=True),
)


class Erase(NamedTuple):
    """A complete trial of the table.  curve: costs after each epoch; final: its costs."""

    curve: Floats
    final: Floats
    settled: int
    seconds: float
    control: bool

    @property
    def epochs(self) -> int:
        return len(self.curve)


class Replay(NamedTuple):
    """epochs: number run by each trial; complete: trials not pruned, in order of their end."""

    epochs: dict[int, int]
    complete: list[int]


def read_table(path: Path) -> list[Erase]:
    """Complete trials of a study without pruning.  Raises: ReportError or ConfigError for another table."""
    trials = read_trials(path)
    if (trials["state"] == "PRUNED").any():
        raise ConfigError(f"{path} has pruned trials, without final scores; give a study without --prune")
    found = []
    for trial in trials[trials["state"] == "COMPLETE"].to_dict("records"):
        curve = costs(read_curve(trial["curve"]))
        schedule = SCHEDULES[trial["params"]["schedule"]]
        final = costs(np.array([[trial["asr"], trial["acc"]]]))[0]
        settled = settled_from(schedule, len(curve))
        found.append(Erase(curve, final, settled, trial["compute_seconds"], bool(trial["control"])))
    return found


def replay(erases: Sequence[Erase], rule: Rule, *, workers: int, floor: float) -> Replay:
    """Run these trials in this order.  floor: see `study.search.halving.Halving`."""
    halving = Halving(floor=floor if rule.floor else -1.0, rungs=rule.rungs, eta=rule.eta)
    done: dict[int, int] = {}
    complete: list[int] = []
    waiting, ties = iter(range(len(erases))), count()
    events: list[tuple[float, int, int]] = []

    def ends_epoch(now: float, number: int) -> None:
        heapq.heappush(events, (now + erases[number].seconds / erases[number].epochs, next(ties), number))

    def starts_next(now: float) -> None:
        if (number := next(waiting, None)) is not None:
            done[number] = 0
            ends_epoch(now, number)

    def seen(number: int) -> Seen:
        return shown(erases[number], done[number], rule, complete=done[number] == erases[number].epochs)

    for _ in range(workers):
        starts_next(0.0)
    while events:
        now, _, number = heapq.heappop(events)
        done[number] += 1
        if done[number] == erases[number].epochs:
            complete.append(number)
            starts_next(now)
        elif (
            not erases[number].control
            and is_look(erases[number], done[number], rule)
            and halving.objection(seen(number), (seen(other) for other in sorted(done) if other != number))
        ):
            starts_next(now)
        else:
            ends_epoch(now, number)
    return Replay(done, complete)


def shown(erase: Erase, done: int, rule: Rule, *, complete: bool) -> Seen:
    """A trial's curve after `done` epochs, in the rule's steps."""
    if not rule.by_share:
        curve = erase.curve[:done]
        return Seen(curve, erase.epochs, erase.settled, complete, 1 - curve[-1, 1] if done else 0.0)
    ends = [end for end in quarters(erase.epochs) if end <= done]
    curve = erase.curve[np.array(ends, dtype=int) - 1]
    return Seen(curve, 4, 1, complete, 1 - curve[-1, 1] if len(curve) else 0.0)


def is_look(erase: Erase, done: int, rule: Rule) -> bool:
    """True at the end of one of the rule's steps."""
    return not rule.by_share or done in quarters(erase.epochs)


def quarters(epochs: int) -> list[int]:
    """Last epoch of each quarter of a trial."""
    return [math.ceil(epochs * quarter / 4) for quarter in (1, 2, 3, 4)]


def order_of(erases: Sequence[Erase], trials: int, seed: int) -> list[Erase]:
    """The controls, then others at random; `trials` in all."""
    controls = [erase for erase in erases if erase.control]
    others = [erase for erase in erases if not erase.control]
    chosen = np.random.default_rng(seed).permutation(len(others))[: trials - len(controls)]
    return [*controls, *(others[index] for index in chosen)]


def volume(erases: Sequence[Erase]) -> float:
    """The hypervolume of their final scores."""
    return hypervolume(np.array([erase.final for erase in erases]).reshape(-1, 2))


def judge(erases: Sequence[Erase], rule: Rule, arguments: Arguments) -> dict[str, Any]:
    """A rule's epochs, seconds and hypervolume over all orders, relative to no pruning."""
    floor = chance_floor(torch.arange(GLANCE) % arguments.classes)
    rows = []
    for seed in range(arguments.seeds):
        order = order_of(erases, arguments.trials, seed)
        found = replay(order, rule, workers=arguments.workers, floor=floor)
        whole, spent = sum(erase.epochs for erase in order), sum(found.epochs.values())
        seconds = sum(order[i].seconds * ran / order[i].epochs for i, ran in found.epochs.items())
        until = np.cumsum([erase.epochs for erase in order]) <= spent
        rows.append(
            (
                spent / whole,
                seconds / sum(erase.seconds for erase in order),
                volume([order[i] for i in found.complete]) / volume(order),
                volume([erase for erase, fits in zip(order, until, strict=True) if fits]) / volume(order),
                len(order) - len(found.complete),
            )
        )
    epochs, seconds_share, ratio, fewer, pruned = np.array(rows).T
    low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75))
    result: dict[str, Any] = {
        "epochs": np.median(epochs),
        "seconds": np.median(seconds_share),
        "hypervolume": middle,
        "hypervolume quartiles": [low, high],
        "lowest hypervolume": ratio.min(),
        "hypervolume of fewer trials": np.median(fewer),
        "pruned trials": np.median(pruned),
    }
    return {"rule": rule.name, **{key: np.round(values, 4).tolist() for key, values in result.items()}}


@dataclass(frozen=True)
class Arguments:
    """Savings and cost of --prune, replayed on a table of complete erases."""

    table: Annotated[Path, tyro.conf.Positional] = RECORDED
    """trials.csv of a study by --sampler random, without --prune. Default: 320 random erases of one victim."""
    seeds: int = 20
    """Orders of the trials."""
    trials: int = 60
    """Trials of one replay, controls included."""
    workers: int = 2
    """Trials at a time."""
    classes: int = 10
    """Classes of the data set."""


def main(arguments: Arguments) -> None:
    """Print each rule's savings and cost."""
    erases = read_table(arguments.table)
    if len(erases) < arguments.trials:
        raise ConfigError(
            f"{arguments.table} has {len(erases)} complete trials, fewer than --trials {arguments.trials}; lower that"
        )
    print(f"{len(erases)} complete erases; {arguments.seeds} orders of {arguments.trials}, {arguments.workers} workers")
    print(
        f"{'rungs':32} {'epochs':>7} {'seconds':>8} {'hypervolume (quartiles)':>26} {'lowest':>7} {'fewer trials':>13}"
    )
    found = []
    for rule in RULES:
        row = judge(erases, rule, arguments)
        found.append(row)
        low, high = row["hypervolume quartiles"]
        print(
            f"{rule.name:32} {row['epochs']:7.1%} {row['seconds']:8.1%}"
            f" {row['hypervolume']:10.4f} ({low:.4f} to {high:.4f}) {row['lowest hypervolume']:7.4f}"
            f" {row['hypervolume of fewer trials']:13.4f}"
        )
    ours = found[RULES.index(OURS)]
    met = ours["hypervolume"] >= SAME and ours["epochs"] <= MOST_COMPUTE
    print(
        f"--prune keeps {ours['hypervolume']:.1%} of the hypervolume (median) for {ours['epochs']:.1%} of the epochs:"
        f" at least {SAME:.0%} for at most {MOST_COMPUTE:.0%} is {'met' if met else 'not met'} on this table"
    )
    print(json.dumps({"table": len(erases), "seeds": arguments.seeds, "met": met, "rules": found}))


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except (NadError, ReportError) as error:
        sys.exit(f"error: {error}")

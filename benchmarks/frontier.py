"""Trials and seconds of each sampler to the frontier, replayed on a recorded study.

    python -m benchmarks.frontier [TABLE.csv]

Replays of recorded erases allow many seeds per sampler. A replay starts with the recorded controls, like every study.
Each proposal is answered with the nearest unused recorded erase, and the sampler is told that erase's settings and
scores, so it learns only true ones. It can choose only among recorded points: use a record of `--sampler random`, many
times larger than a replay. A replay runs one trial at a time; in a study, scores come a little later.

The hypervolume is the report's, up to (ASR 1, 1 - ACC 1), of the whole front. A study asks its sampler to lose no more
accuracy than `--max-acc-drop`, so the lowest ASR among such trials (the recommended trial's) is printed too, and TPE
runs a second time without that constraint, as `tpe, no floor`. The last line is JSON.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import optuna
import tyro
from optuna.trial import TrialState

from benchmarks.recorded import RECORDED, Params, Table, distances, place, read_table
from nad.errors import ConfigError, NadError
from reports.analysis.frontier import ROUNDING, front_order, hypervolume
from reports.analysis.objectives import OBJECTIVES, Floats
from reports.files import ReportError
from study.search.samplers import SAMPLERS, make_sampler

AFTER = (10, 20, 40, 60)
"""Numbers of trials to print the hypervolume after."""
BASELINE, SHARE = "random", 0.95
"""The target: this share of the median hypervolume of the baseline's whole replays."""


@dataclass(frozen=True)
class Arguments:
    """Trials and seconds of each sampler to the frontier, replayed on a recorded study."""

    table: Annotated[Path, tyro.conf.Positional] = RECORDED
    """A study's trials.csv, with summary.json and config.json beside it. Default: 320 random erases of one victim."""
    seeds: int = 20
    """Replays of each sampler."""
    trials: int = 60
    """Trials of a replay, controls included."""
    samplers: tuple[str, ...] = tuple(SAMPLERS)
    """Samplers to compare; the baseline, random, always runs."""


class Replay(NamedTuple):
    """rows: the trials' indices in the table, in order; asking: CPU seconds of all proposals."""

    rows: list[int]
    asking: float


def replay(table: Table, sampler: optuna.samplers.BaseSampler, trials: int) -> Replay:
    """Search the table with a fresh sampler."""
    study = optuna.create_study(directions=[objective.direction for objective in OBJECTIVES], sampler=sampler)
    rows: list[int] = []
    free = np.ones(len(table.params), dtype=bool)
    asking = 0.0

    def take(row: int, system_attrs: Params) -> None:
        study.add_trial(
            optuna.trial.create_trial(
                params=table.params[row],
                distributions=table.distributions[row],
                values=list(table.scores[row]),
                constraints={"acc_drop": -table.room[row]},
                system_attrs=system_attrs,  # NSGA-II counts its generations there
            )
        )
        rows.append(row)
        free[row] = False

    for row in table.controls[:trials]:
        take(row, {})
    while len(rows) < trials:
        started = time.process_time()
        asked = study.ask()
        table.space.suggest(asked, table.domain)
        asking += time.process_time() - started
        told = study.tell(asked, state=TrialState.FAIL)
        left = np.flatnonzero(free)
        near = distances(place(asked.params, table.whole_space), table.places[left], table.choices)
        take(int(left[near.argmin()]), told.system_attrs)
    return Replay(rows, asking)


def growth(found: Floats) -> Floats:
    """Hypervolume after each trial.  found: (trials, 2), their costs in order.  Returns (trials,)."""
    values, front = [], np.empty((0, len(OBJECTIVES)))
    for one in found:
        front = np.vstack((front, one))
        front = front[front_order(front)]
        values.append(hypervolume(front))
    return np.array(values)


def recommended(table: Table, rows: list[int]) -> Floats:
    """Lowest ASR so far within the accuracy constraint, after each trial; infinite before the first."""
    kept = table.room[rows] >= -ROUNDING
    return np.asarray(np.minimum.accumulate(np.where(kept, table.scores[rows, 0], np.inf)))


def reached(curve: Floats, target: float) -> float:
    """Trials until the hypervolume reaches the target; infinite if it never does."""
    there = np.flatnonzero(curve >= target)
    return float(there[0] + 1) if len(there) else math.inf


def measure(table: Table, arguments: Arguments) -> dict[str, Any]:
    """All figures."""
    names = list(dict.fromkeys([BASELINE, *arguments.samplers]))
    contests = {name: (name, table) for name in names}
    if "tpe" in names:
        contests["tpe, no floor"] = ("tpe", table._replace(room=np.ones_like(table.room)))
    replays = {
        title: [replay(told, make_sampler(name, seed), arguments.trials) for seed in range(arguments.seeds)]
        for title, (name, told) in contests.items()
    }
    curves = {name: np.array([growth(table.costs[one.rows]) for one in found]) for name, found in replays.items()}
    target = SHARE * float(np.median(curves[BASELINE][:, -1]))
    return {
        "table": str(arguments.table),
        "erases": len(table.params),
        "controls": len(table.controls),
        "hypervolume": round(hypervolume(table.costs), 4),
        "seeds": arguments.seeds,
        "trials": arguments.trials,
        "target": round(target, 4),
        "samplers": {name: summarise(table, replays[name], curves[name], target) for name in replays},
    }


def summarise(table: Table, replays: list[Replay], curves: Floats, target: float) -> dict[str, Any]:
    """One sampler's figures; quartiles are [lower, median, upper] over its replays."""
    trials = curves.shape[1]
    asr = np.array([recommended(table, one.rows) for one in replays])
    after = [count for count in AFTER if count <= trials]
    spent = [np.cumsum(table.seconds[one.rows]) for one in replays]
    needed = [reached(curve, target) for curve in curves]
    seconds = [
        float(clock[int(count) - 1]) if count <= trials else math.inf
        for clock, count in zip(spent, needed, strict=True)
    ]
    return {
        "hypervolume": {str(count): _quartiles(curves[:, count - 1], 4) for count in after},
        "recommended_asr": {str(count): _quartiles(asr[:, count - 1], 4) for count in after},
        "trials_to_target": _quartiles(np.array(needed), 1),
        "seconds_to_target": _quartiles(np.array(seconds), 1),
        "reached": sum(map(math.isfinite, needed)),
        "seconds_per_proposal": round(float(np.mean([one.asking / trials for one in replays])), 4),
    }


def _quartiles(values: Floats, digits: int) -> list[float | None]:
    """Lower, median, upper; None for an infinite one, unknown to JSON. Between 50 and infinity lies infinity."""
    found = np.quantile(values, (0.25, 0.5, 0.75), method="linear" if np.isfinite(values).all() else "higher")
    return [round(float(value), digits) if math.isfinite(value) else None for value in found]


def show(result: Mapping[str, Any]) -> None:
    """Print the figures for people."""
    print(
        f"{result['erases']} recorded erases with a hypervolume of {result['hypervolume']}; {result['seeds']} replays"
        f" of {result['trials']} trials for each sampler, {result['controls']} of them controls; median (quartiles)"
    )
    after = [str(trials) for trials in AFTER if trials <= result["trials"]]
    for key, title in (("hypervolume", "hypervolume after"), ("recommended_asr", "recommended ASR")):
        print(f"{title:18s}" + "".join(f"{f'{trials} trials':>26s}" for trials in after))
        for name, found in result["samplers"].items():
            print(f"{name:18s}" + "".join(f"{_spread(found[key][trials], '.4f'):>26s}" for trials in after))
    print(f"to {SHARE:.0%} of the median of {result['trials']} random trials, {result['target']}:")
    for name, found in result["samplers"].items():
        print(
            f"{name:18s}{_spread(found['trials_to_target'], '.0f'):>26s} trials"
            f"{_spread(found['seconds_to_target'], '.0f'):>26s} s computing; reached by {found['reached']} of"
            f" {result['seeds']}; {found['seconds_per_proposal']} s of the processor a proposal"
        )


def _spread(quartiles: list[float | None], form: str) -> str:
    low, middle, high = ("never" if value is None else format(value, form) for value in quartiles)
    return f"{middle} ({low} to {high})"


def main(arguments: Arguments) -> int:
    """Measure, and print the figures and their JSON.  Returns the exit code."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        table = read_table(arguments.table)
        if not 1 <= arguments.trials <= len(table.params):
            raise ConfigError(f"--trials {arguments.trials} is out of range; give 1 to {len(table.params)}")
        result = measure(table, arguments)
    except (NadError, ReportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(result)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))

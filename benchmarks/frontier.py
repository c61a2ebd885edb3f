"""`python -m benchmarks.frontier [TABLE.csv]`: how many trials, and seconds, each sampler takes to the frontier.

Replays a recorded study instead of running one, so that every sampler can have many seeds on real erases. A replay
begins with the recorded controls, as every study does. Then it answers what the sampler proposes with the nearest
recorded erase that it has not used yet, and tells the sampler that erase's own settings and scores: what the sampler
knows is then always true, which it would not be if the proposal were given its neighbour's scores. The sampler can
only choose among the recorded points, so a record made with `--sampler random`, many times larger than a replay, is
the fair one. A replay runs one trial at a time; a study runs several, whose scores come a little later.

Near is by Gower's distance (1971), summed: a number counts by the share of its range, by logarithm where the space
draws it so (betas, epochs); a choice counts 1 where it differs, and so does a setting that only one of the two has,
such as the beta of a layer that the other leaves out.

The hypervolume is the report's, up to (ASR 1, 1 - ACC 1). It counts the whole front, but a study tells its sampler to
prefer trials that lose no more accuracy than `--max-acc-drop`, so the lowest ASR among those is printed, too, which is
the recommended trial's; and TPE runs a second time without being told, as `tpe, no floor`. The last line is the same as
one JSON object.
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
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FixedTrial, TrialState

import search_spaces
from nad import models
from nad.errors import ConfigError, NadError
from reports.analysis.frontier import ROUNDING, front_order, hypervolume
from reports.analysis.objectives import OBJECTIVES, Floats, costs
from reports.files import ReportError, read_json
from reports.trial_table import read_trials
from search_spaces import Domain, SearchSpace
from study.search.samplers import SAMPLERS, make_sampler

RECORDED = Path(__file__).parent / "random-erases" / "trials.csv"
"""320 erases at random settings; config.json beside it has the command that made it."""
AFTER = (10, 20, 40, 60)
"""Trials after which the hypervolume is told."""
BASELINE, SHARE = "random", 0.95
"""What a sampler is timed to: this share of the median hypervolume of the baseline's whole replays."""

Params = dict[str, Any]
Distributions = dict[str, BaseDistribution]


@dataclass(frozen=True)
class Arguments:
    """How many trials, and how many seconds, each sampler takes to the frontier of a recorded study."""

    table: Annotated[Path, tyro.conf.Positional] = RECORDED
    """A study's trials.csv, with summary.json and config.json beside it. Default: 320 random erases of one victim."""
    seeds: int = 20
    """Replays of each sampler."""
    trials: int = 60
    """Trials of a replay, controls included."""
    samplers: tuple[str, ...] = tuple(SAMPLERS)
    """Which ones; the baseline, random, always runs."""


class Table(NamedTuple):
    """A recorded study's complete trials, n of them.

    places: (n, parameters), where each lies in the space; NaN for a parameter that it lacks.  choices: which parameters
    are categorical.  costs: (n, 2).  seconds: (n,).  room: (n,), points of accuracy above what the constraint asks.
    controls: indices of those that every study asks first.
    """

    space: SearchSpace
    domain: Domain
    params: list[Params]
    distributions: list[Distributions]
    whole_space: Distributions
    places: Floats
    choices: NDArray[np.bool_]
    scores: Floats
    costs: Floats
    seconds: Floats
    room: Floats
    controls: list[int]


class Replay(NamedTuple):
    """rows: the trials' indices in the table, in order; asking: the processor's seconds for all proposals."""

    rows: list[int]
    asking: float


def read_table(path: Path) -> Table:
    """The table that a study wrote.

    Raises: ReportError where it or a file beside it is not what docs/summary.md says.
    """
    trials = read_trials(path)
    summary, config = (read_json(path.with_name(name)) for name in ("summary.json", "config.json"))
    settings = config["settings"]
    space = search_spaces.get(settings["space"])
    fractions = tuple(settings["clean_fractions"] or space.clean_fractions)
    pairs = models.layer_pairs(summary["model"], summary.get("teacher_model", summary["model"]))
    domain = Domain(tuple(pairs), tuple(sorted(set(fractions))))
    complete = trials[trials["state"] == "COMPLETE"]
    scores = complete[[objective.name for objective in OBJECTIVES]].to_numpy(dtype=float)
    params = list(complete["params"])
    distributions = [_distributions(space, domain, point) for point in params]
    whole_space = {name: kind for each in distributions for name, kind in each.items()}
    return Table(
        space=space,
        domain=domain,
        params=params,
        distributions=distributions,
        whole_space=whole_space,
        places=np.array([place(point, whole_space) for point in params]),
        choices=np.array([isinstance(kind, CategoricalDistribution) for kind in whole_space.values()]),
        scores=scores,
        costs=costs(scores),
        seconds=complete["compute_seconds"].to_numpy(dtype=float),
        room=scores[:, 1] - (summary["victim"]["acc"] - summary["max_acc_drop"]),
        controls=[int(index) for index in np.flatnonzero(complete["control"] != "")],
    )


def _distributions(space: SearchSpace, domain: Domain, params: Params) -> Distributions:
    trial = FixedTrial(params)
    space.suggest(trial, domain)
    return trial.distributions


def place(params: Mapping[str, Any], whole_space: Mapping[str, BaseDistribution]) -> Floats:
    """Where a point lies: numbers in [0, 1] of their range, choices by their index, NaN where it has no such value."""
    return np.array([_coordinate(kind, params.get(name)) for name, kind in whole_space.items()])


def _coordinate(kind: BaseDistribution, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(kind, CategoricalDistribution):
        return float(kind.to_internal_repr(value))
    ends: Any = kind
    low, high, here = (math.log(end) if ends.log else float(end) for end in (ends.low, ends.high, value))
    return (here - low) / (high - low)


def distances(here: Floats, places: Floats, choices: NDArray[np.bool_]) -> Floats:
    """Gower's distance, summed, of one place to all.  here: (parameters,).  Returns (n,)."""
    gaps = np.abs(places - here)
    gaps = np.where(choices, np.minimum(gaps, 1.0), gaps)
    lacking = np.isnan(places).astype(float) + np.isnan(here)
    return np.asarray(np.where(np.isnan(gaps), lacking % 2, gaps).sum(axis=1))


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
                system_attrs=system_attrs,  # where NSGA-II counts its generations
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
    """The lowest ASR after each trial among those that keep enough accuracy; infinite before the first that does."""
    kept = table.room[rows] >= -ROUNDING
    return np.asarray(np.minimum.accumulate(np.where(kept, table.scores[rows, 0], np.inf)))


def reached(curve: Floats, target: float) -> float:
    """Trials until the hypervolume is at least the target; infinite where it never is."""
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
    """None for one that is infinite: JSON has no such number. Between 50 and infinity lies the latter."""
    found = np.quantile(values, (0.25, 0.5, 0.75), method="linear" if np.isfinite(values).all() else "higher")
    return [round(float(value), digits) if math.isfinite(value) else None for value in found]


def show(result: Mapping[str, Any]) -> None:
    """The same for people."""
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
    """Measure, print, and print once more for other programs; returns the exit code."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        table = read_table(arguments.table)
        if not 1 <= arguments.trials <= len(table.params):
            raise ConfigError(f"--trials {arguments.trials}: the table has 1 to {len(table.params)} trials to replay")
        result = measure(table, arguments)
    except (NadError, ReportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(result)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))

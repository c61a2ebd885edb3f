"""Trials of each sampler to the frontier, in real studies of several seeds: `python -m benchmarks.searches`.

Real erases, several at a time; `benchmarks.frontier` replays a record instead. Studies of one seed share victim,
teachers and controls, and differ in their sampler alone. The target is a share of random search's final hypervolume on
the same victim. Studies are kept in a folder: run the same command again to continue. The last line is JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
import tyro

from benchmarks.frontier import BASELINE, SHARE, growth, reached
from reports.analysis.objectives import OBJECTIVES, Floats, costs
from study.search.samplers import SAMPLERS

STUDY = "--attack refool --victim-epochs 12 --clean-fractions 0.05 0.1 --max-acc-drop 0.05 --confirm 0"
"""The victim and the space of `benchmarks/random-erases`."""
AFTER = (10, 20)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Trials of each sampler to the frontier, in real studies of several seeds."""

    samplers: tuple[str, ...] = tuple(SAMPLERS)
    """Samplers to compare; the baseline, random, always runs."""
    seeds: tuple[int, ...] = (0, 1, 2)
    trials: int = 24
    """Of each study, controls included."""
    output: Path = Path("runs/searches")
    """Folder of the studies."""


def main(arguments: Arguments) -> None:
    """Run the missing studies, and print the figures."""
    names = list(dict.fromkeys([BASELINE, *arguments.samplers]))
    curves: dict[str, list[Floats]] = {name: [] for name in names}
    for seed in arguments.seeds:
        for name in names:
            curves[name].append(_study(arguments, name, seed))
    ends = [SHARE * float(curve[-1]) for curve in curves[BASELINE]]
    found = {name: summarise(curves[name], ends, arguments.trials) for name in names}
    for name, figures in found.items():
        print(f"{name:13s}{json.dumps(figures)}")
    print(json.dumps({"seeds": len(arguments.seeds), "trials": arguments.trials, "samplers": found}))


def summarise(curves: list[Floats], targets: list[float], trials: int) -> dict[str, Any]:
    """Mean hypervolumes, and trials to each seed's target, None if not reached.  curves: one per seed."""
    needed = [reached(curve, target) for curve, target in zip(curves, targets, strict=True)]
    after = [count for count in (*AFTER, trials) if count <= trials]
    return {
        "hypervolume": {
            str(count): round(mean(float(curve[min(count, len(curve)) - 1]) for curve in curves), 4) for count in after
        },
        "trials_to_target": [int(count) if np.isfinite(count) else None for count in needed],
    }


def _study(arguments: Arguments, sampler: str, seed: int) -> Floats:
    """Run or continue one study in a fresh process.  Returns the hypervolume after each complete trial."""
    name = f"{sampler}-{seed}"
    options = ["--output", str(arguments.output), "--name", name, "--sampler", sampler, "--seed", str(seed)]
    command = [sys.executable, "-m", "study.run", *STUDY.split(), *options, "--trials", str(arguments.trials)]
    if code := subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"the study {name} ended with exit code {code}; its reason is above, this command goes on")
    trials = pd.read_csv(arguments.output / name / "trials.csv")
    complete = trials[trials["state"] == "COMPLETE"]
    ended = pd.to_datetime(complete["started"]) + pd.to_timedelta(complete["seconds"], unit="s")
    scores = complete.loc[ended.sort_values().index, [objective.name for objective in OBJECTIVES]]
    return growth(costs(scores.to_numpy(dtype=float)))


if __name__ == "__main__":
    main(tyro.cli(Arguments))

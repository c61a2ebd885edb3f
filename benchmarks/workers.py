"""Trials per hour of two workers against one, one thread each: `python -m benchmarks.workers`.

The same study of random settings, so the same trials, runs once with each number of workers. A first study fills the
cache with victim and teachers. Times run from the first trial's start to the last one's end. The last line is JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

STUDY = "--attack badnets --victim-epochs 2 --allow-weak-backdoor --clean-fractions 0.05 --sampler random --confirm 0"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Trials per hour of two workers against one."""

    trials: int = 40
    repeats: int = 1
    """Repeats of the pair; the ratio compares summed times."""


def main(arguments: Arguments) -> None:
    """Measure, and print."""
    seconds = {1: 0.0, 2: 0.0}
    with tempfile.TemporaryDirectory() as folder:
        _study(folder, "warm", 1, 2)
        for repeat in range(arguments.repeats):
            for workers in seconds:
                seconds[workers] += _study(folder, f"{repeat}-{workers}", arguments.trials, workers)
    total = arguments.trials * arguments.repeats
    per_hour = {f"per_hour_{workers}": round(total / spent * 3600) for workers, spent in seconds.items()}
    result = {"trials": total, **per_hour, "ratio": round(seconds[1] / seconds[2], 2)}
    print(f"two workers make {result['ratio']} times the trials per hour of one")
    print(json.dumps(result))


def _study(folder: str, name: str, trials: int, workers: int) -> float:
    """Run a study in a fresh process.  Returns seconds from its first trial's start to the last one's end."""
    options = [*STUDY.split(), "--output", folder, "--name", name, "--trials", str(trials), "--workers", str(workers)]
    subprocess.run([sys.executable, "-m", "study.run", *options], check=True, stdout=subprocess.DEVNULL)
    table = pd.read_csv(Path(folder, name, "trials.csv"), parse_dates=["started"])
    ended = table["started"] + pd.to_timedelta(table["seconds"], unit="s")
    return float((ended.max() - table["started"].min()).total_seconds())


if __name__ == "__main__":
    main(tyro.cli(Arguments))

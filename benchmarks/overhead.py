"""Overhead of a study beside training and evaluation: `python -m benchmarks.overhead [DIR]`.

Overhead of a trial: its wall time in Optuna's record, from asked to told, less its worker's training and evaluation.
The first trial of each worker includes the worker's start.

DIR: a finished study's folder. Without it, a small study runs twice: the first fills the cache, the second is measured.
Its start-up is printed too: whole seconds from the command's launch to the first trial. The last line is JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import pandas as pd
import tyro

STUDY = "--attack badnets --victim-epochs 2 --allow-weak-backdoor --clean-fractions 0.01 --confirm 0"


@dataclass(frozen=True)
class Arguments:
    """Overhead of a study beside training and evaluation."""

    directory: Annotated[Path | None, tyro.conf.Positional] = None
    """A finished study's folder; by default, run a small study."""
    trials: int = 40
    """Trials of the small study."""


def main(arguments: Arguments) -> None:
    """Measure, and print."""
    if arguments.directory is not None:
        result = overhead(pd.read_csv(arguments.directory / "trials.csv"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            _study(folder, "first", 1)
            launched = time.time()
            trials = _study(folder, "second", arguments.trials)
        started = datetime.fromisoformat(trials["started"].min()).timestamp()
        result = overhead(trials) | {"start_up": max(round(started - launched), 0)}
    print(f"overhead of {result['trials']} trials: median {result['median']} s, largest {result['max']} s,")
    print(f"largest but for the two that started a worker {result['max_after_start']} s")
    if "start_up" in result:
        print(f"the first trial started {result['start_up']} s after the launch")
    print(json.dumps(result))


def overhead(trials: pd.DataFrame) -> dict[str, float]:
    """Seconds per complete trial beside training and evaluation."""
    complete = trials[trials["state"] == "COMPLETE"].sort_values("started")
    seconds = complete["seconds"] - complete["compute_seconds"]
    return {
        "trials": len(seconds),
        "median": round(float(seconds.median()), 3),
        "max": round(float(seconds.max()), 3),
        "max_after_start": round(float(seconds.iloc[2:].max()), 3),
    }


def _study(folder: str, name: str, trials: int) -> pd.DataFrame:
    """Run a study in a process of its own.  Returns its trials."""
    options = [*STUDY.split(), "--output", folder, "--name", name, "--trials", str(trials)]
    subprocess.run([sys.executable, "-m", "study.run", *options], check=True, stdout=subprocess.DEVNULL)
    return pd.read_csv(Path(folder, name, "trials.csv"))


if __name__ == "__main__":
    main(tyro.cli(Arguments))

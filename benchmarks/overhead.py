"""`python -m benchmarks.overhead DIR`: seconds of each trial of a study that were neither training nor evaluating.

Wall time of a trial in Optuna's record, from being asked to being told, less what its worker spent in training and
evaluation. The first trial of each worker includes its start. The last line is the same as one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd


def overheads(trials: pd.DataFrame) -> pd.Series[float]:
    """Seconds per complete trial, in order of their start."""
    complete = trials[trials["state"] == "COMPLETE"].sort_values("started")
    return complete["seconds"] - complete["compute_seconds"]


def main(directory: Path) -> None:
    """Print the overhead of a study's trials."""
    seconds = overheads(pd.read_csv(directory / "trials.csv"))
    result = {
        "trials": len(seconds),
        "median": round(float(seconds.median()), 3),
        "max": round(float(seconds.max()), 3),
        "max_after_start": round(float(seconds.sort_values().iloc[:-2].max()), 3),
    }
    print(f"overhead of {result['trials']} trials: median {result['median']} s, largest {result['max']} s,")
    print(f"largest but for the two that started a worker {result['max_after_start']} s")
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

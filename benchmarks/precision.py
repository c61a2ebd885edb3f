"""Scores and speed of erases in bfloat16 against float32: `python -m benchmarks.precision`.

Both erase the same victim with the same seeds, so the same batches. Each has a teacher fine-tuned in its own precision;
all scores are computed in float32. Differences are of pairs of one seed, with standard errors. The last line is JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import tyro
from rich.console import Console

from benchmarks.erase import CORES, Side, in_parallel
from benchmarks.subject import Subject, workload_of
from nad.erasure import PRESETS
from nad.precision import PRECISIONS
from search_spaces import Point
from study.display.progress import Display


@dataclass(frozen=True, kw_only=True)
class Arguments(Subject):
    """Scores and speed of erases in bfloat16 against float32."""

    clean_fraction: float = 0.05
    epochs: int = 10
    seeds: int = 20


def main(arguments: Arguments) -> None:
    """Run both sides, and print how they differ."""
    display, fraction = Display(Console(stderr=True)), arguments.clean_fraction
    point = Point(fraction, replace(PRESETS["code"], epochs=arguments.epochs))
    sides: dict[str, Side] = {}
    for precision in PRECISIONS:
        config = arguments.settings([fraction]).changed(precision=precision)
        with workload_of(
            config,
            lambda scenario: scenario.test,
            cpus=CORES,
            display=display,
            recipe=arguments.settings([fraction]).recipe,
        ) as workload:
            erases = [(seed, point) for seed in range(arguments.seeds)]
            sides[precision] = Side(in_parallel(erases, workload, precision, display), CORES)
    single, half = (sides[precision] for precision in PRECISIONS)
    result = {"times_as_fast": round(half.per_hour / single.per_hour, 2), "seeds": arguments.seeds}
    for score in ("asr", "acc"):
        gaps = [other[score] - one[score] for one, other in zip(single.erases, half.erases, strict=True)]
        error = float(np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
        result |= {
            score: round(single.mean(score), 4),
            f"{score}_added": round(float(np.mean(gaps)), 4),
            f"{score}_error": round(error, 4),
        }
    print(f"bfloat16 makes {result['times_as_fast']} times the erases per hour of float32; it adds")
    for score in ("asr", "acc"):
        added, error = (result[f"{score}_{what}"] for what in ("added", "error"))
        print(f"{added:.4f} ± {error:.4f} to an {score.upper()} of {result[score]:.4f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main(tyro.cli(Arguments))

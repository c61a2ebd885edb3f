"""What a study promises, and what its recommended setting does on fresh draws: `python -m benchmarks.promise`.

One study for each seed, so for each victim, with its confirmation on test images. The promise is the estimate from the
search; the miss is the mean score over fresh draws less that. Studies that are there already go on. The last line is
JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from reports.study_folder import Study, read_study
from study.run import main as run_study


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Misses of the promises of several studies."""

    attack: str = "refool"
    dataset: str = "fashion-c"
    data_dir: Path | None = None
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    trials: int = 40
    clean_fraction: float = 0.05
    max_acc_drop: float = 0.03
    draws: int = 8
    """Fresh draws of the confirmation."""
    output: Path = Path("runs")


class Miss(NamedTuple):
    """Test less promise, in fractions."""

    asr: float
    acc: float


def main(arguments: Arguments) -> None:
    """Run the studies, and print what each promised and kept."""
    misses = []
    for seed in arguments.seeds:
        name = f"promise-{arguments.attack}-{arguments.dataset}-{seed}"
        if code := run_study([*command(arguments, seed), "--name", name]):
            raise SystemExit(code)
        found = miss(read_study(arguments.output / name))
        if found is None:
            print(f"seed {seed}: nothing was recommended")
            continue
        misses.append(found)
        print(
            f"seed {seed}: ASR {100 * found.asr:+.1f} points against the promise, ACC {100 * found.acc:+.1f}",
            flush=True,
        )
    print(json.dumps(summary(misses)))


def command(arguments: Arguments, seed: int) -> list[str]:
    """The study's options."""
    where = [] if arguments.data_dir is None else ["--data-dir", str(arguments.data_dir)]
    return [
        *("--attack", arguments.attack, "--dataset", arguments.dataset, *where, "--seed", str(seed)),
        *("--trials", str(arguments.trials), "--clean-fractions", str(arguments.clean_fraction)),
        *("--max-acc-drop", str(arguments.max_acc_drop), "--confirm", str(arguments.draws)),
        *("--output", str(arguments.output)),
    ]


def miss(study: Study) -> Miss | None:
    """A confirmed study's miss; None without a recommended setting."""
    point = study.recommended
    if point is None or point.test is None:
        return None
    return Miss(point.test.asr - point.scores.asr, point.test.acc - point.scores.acc)


def summary(misses: list[Miss]) -> dict[str, float | int]:
    """Means of the absolute misses, and of the misses themselves."""
    found = np.array(misses, dtype=float).reshape(-1, len(Miss._fields))
    means = {} if len(found) == 0 else dict(zip(Miss._fields, found.mean(axis=0).round(4).tolist(), strict=True))
    sizes = {} if len(found) == 0 else dict(zip(Miss._fields, abs(found).mean(axis=0).round(4).tolist(), strict=True))
    return {
        "studies": len(misses),
        **{f"mean_{name}": value for name, value in means.items()},
        **{f"mean_size_{name}": value for name, value in sizes.items()},
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))

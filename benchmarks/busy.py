"""Victim training with threads adapted to the load, against fixed numbers: `python -m benchmarks.busy`.

The same training runs in turns with one thread, with one per core, and as in a study; alone, and beside busy processes
started here. The ratio compares medians, against the better fixed number. Run it on an otherwise idle machine. The last
line is JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median

import torch
import tyro
from rich.console import Console

from nad.cores import cores
from nad.seeds import derive
from nad.victim import Training
from nad.work import run_here
from study.display.progress import Display
from study.options.config import StudyConfig
from study.record.folder import cache_folder
from study.stages.preparation import Preparation

_BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
"""Source of a busy process; it ends with its parent."""


@dataclass(frozen=True)
class Arguments:
    """Victim training with threads adapted to the load, against fixed numbers."""

    busy: tuple[int, ...] = (0, 2)
    """Busy processes beside the training."""
    images: int = 4000
    epochs: int = 2
    repeats: int = 3
    """Trainings of each kind."""


def main(arguments: Arguments) -> None:
    """Measure, and print."""
    training = _training(arguments)
    _seconds(training, cores())  # warm-up: imports and compilation are not counted
    results = {}
    for busy in arguments.busy:
        spent, threads = defaultdict(list), []
        with _busy(busy):
            for _ in range(arguments.repeats):
                for fixed in (1, cores(), None):
                    seconds, steps = _seconds(training, fixed)
                    spent[fixed].append(seconds)
                    threads += [steps] if fixed is None else []
        ours, best = median(spent[None]), min(median(spent[1]), median(spent[cores()]))
        found = {str(fixed or "followed"): [round(each, 2) for each in seconds] for fixed, seconds in spent.items()}
        results[str(busy)] = {"ratio": round(ours / best, 2), "seconds": found, "steps by threads": threads}
        print(f"beside {busy} busy processes: {ours / best:.2f} times the time of the better fixed number of threads")
    print(json.dumps(results))


def _training(arguments: Arguments) -> Training:
    config = StudyConfig.of(attack="badnets")
    scenario = Preparation(config, cache_folder(None), Display(Console(stderr=True))).load_scenario()
    data = scenario.poisoned.data[torch.arange(arguments.images)]
    recipe = replace(config.recipe, epochs=arguments.epochs)
    dataset = scenario.dataset
    return Training(
        "the victim",
        config.victim.architecture,
        dataset.classes,
        dataset.flip,
        data,
        recipe,
        derive(config.search.seed, "busy"),
    )


def _seconds(training: Training, fixed: int | None) -> tuple[float, object]:
    """Seconds of one training, and its steps by number of threads.  fixed: threads; None adapts them to the load."""
    torch.set_num_threads(fixed or cores())
    started = time.perf_counter()
    made = training(None, None) if fixed else run_here(training, None, None)
    return time.perf_counter() - started, made.card.get("threads")


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Run this many busy processes beside the block."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main(tyro.cli(Arguments))

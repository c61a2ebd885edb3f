"""Erases per hour of a study, against a usual PyTorch loop: `python -m benchmarks.erase`.

Both sides share victim, teacher, clean images, settings and test images: the released code's betas, ten epochs. The
usual loop (`benchmarks.usual_loop`) runs alone with one thread per core. The study runs one erase per core, scores each
epoch on a few images, and evaluates at the end. `study` repeats one seed, as a study's trials do: their batches are the
same, so a worker reuses the teacher's attention maps after its first erase. `ours` changes the seed every time. The
last line is JSON.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console

from benchmarks.subject import Subject, workload_of
from benchmarks.usual_loop import erase_as_usual
from nad.cores import cores
from nad.erasure import PRESETS
from nad.progress import Progress
from search_spaces import Point
from study.display.progress import Display
from study.engine import tasks
from study.engine.erase_task import Workload, run_trial

EPOCHS = 10
CORES = cores()


@dataclass(frozen=True, kw_only=True)
class Arguments(Subject):
    """Erases per hour of a study, against a usual PyTorch loop."""

    clean_fraction: float = 0.05
    seeds: int = 6
    """Erases on either side."""


def main(arguments: Arguments) -> None:
    """Run both sides, and print their ratio."""
    fraction, display = arguments.clean_fraction, Display(Console(stderr=True))
    point = Point(fraction, replace(PRESETS["code"], epochs=EPOCHS))
    config = arguments.settings([fraction])
    with workload_of(config, lambda scenario: scenario.test, cpus=CORES, display=display) as workload:
        seeds = list(range(arguments.seeds))
        usual = []
        with display.stage("usual loop", "erases") as step:
            for seed in seeds:
                usual.append(usual_erase(seed, workload, point))
                step(len(usual), len(seeds))
        ours = in_parallel([(seed, point) for seed in seeds], workload, "ours", display)
        # The first erase of each worker computes the teacher's maps; later ones reuse them.
        known = in_parallel([(0, point)] * (len(seeds) + CORES), workload, "study", display)[CORES:]
    sides = {"usual": Side(usual, 1), "ours": Side(ours, CORES), "study": Side(known, CORES)}
    for name, side in sides.items():
        ratio = side.per_hour / sides["usual"].per_hour
        asr, acc = (f"{side.mean(score):.3f}{side.spread(score)}" for score in ("asr", "acc"))
        print(f"{name:>5}: {ratio:.2f} times the erases per hour of the usual loop, ASR {asr}, ACC {acc}")
    print(json.dumps({name: side.figures() for name, side in sides.items()}))


Erased = dict[str, float]
"""asr, acc: fractions; seconds: of the whole erase."""


@dataclass(frozen=True)
class Side:
    """Erases of one side."""

    erases: list[Erased]
    at_once: int
    """Erases at a time."""

    def mean(self, name: str) -> float:
        return float(np.mean([erase[name] for erase in self.erases]))

    def error(self, name: str) -> float:
        """Standard error of the mean."""
        return float(np.std([erase[name] for erase in self.erases], ddof=1) / np.sqrt(len(self.erases)))

    def spread(self, name: str) -> str:
        """Standard error as text; empty for equal scores, as in repeats of one seed."""
        return f" ± {self.error(name):.3f}" if len({erase[name] for erase in self.erases}) > 1 else ""

    @property
    def per_hour(self) -> float:
        return 3600 * self.at_once / self.mean("seconds")

    def figures(self) -> dict[str, float]:
        """Figures for the JSON line."""
        means = {name: self.mean(name) for name in ("asr", "acc")}
        errors = {f"{name}_standard_error": self.error(name) for name in ("asr", "acc")}
        return {name: round(value, 4) for name, value in {"per_hour": self.per_hour, **means, **errors}.items()}


def usual_erase(seed: int, workload: Workload, point: Point) -> Erased:
    """One erase as usual, alone on the machine."""
    torch.manual_seed(seed)
    torch.set_num_threads(CORES)
    device = torch.device("cpu")
    student, teacher = (
        workload.network(weights, device) for weights in (workload.victim, workload.teacher(point.clean_fraction))
    )
    started = time.perf_counter()
    holdout, eval_set = workload.holdout(point.clean_fraction), workload.eval_set()
    asr, acc = erase_as_usual(student, teacher, holdout, eval_set, point.erase, flip=workload.flip)
    return {"asr": asr, "acc": acc, "seconds": time.perf_counter() - started}


def our_erase(argument: tuple[int, Point], workload: Workload, _progress: Progress) -> Erased:
    """One trial of a study."""
    seed, point = argument
    reports: list[dict[str, Any]] = []
    started = time.perf_counter()
    run_trial(
        {"setting": point.values(tuple(workload.pairs)), "draw": 0, "seed": seed},
        workload,
        lambda report: reports.append(dict(report)),
    )
    return {"asr": reports[-1]["asr"], "acc": reports[-1]["acc"], "seconds": time.perf_counter() - started}


def in_parallel(arguments: list[tuple[int, Point]], workload: Workload, name: str, display: Display) -> list[Erased]:
    """Our erases, one per core, in their order."""
    with display.stage(name, "erases") as step:
        done: list[int] = []

        def count(index: int, _erased: Erased) -> None:
            done.append(index)
            step(len(done), len(arguments))

        return tasks.run_tasks(our_erase, arguments, payload=workload, on_done=count)


if __name__ == "__main__":
    main(tyro.cli(Arguments))

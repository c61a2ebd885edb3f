"""Memory of a worker over many erases: `python -m benchmarks.memory`.

One worker process runs short erases with random settings of the space `nad`, and reports its memory after each: its own
(Linux: RssAnon), and its resident set with the shared object store and library files. The last line is JSON.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import tyro
from rich.console import Console

import search_spaces
from benchmarks.subject import Subject, workload_of
from nad.progress import Progress
from search_spaces import Domain, Point
from study.display.progress import Display
from study.engine import tasks
from study.engine.erase_task import Workload, run_trial
from study.options.config import StudyConfig

EPOCHS = 2
WARM_UP = 20
"""Erases until a worker has met every clean fraction and Cutout; more memory after these is growth."""


@dataclass(frozen=True, kw_only=True)
class Arguments(Subject):
    """Memory of a worker over many erases."""

    clean_fractions: tuple[float, ...] = (0.01, 0.05)
    erases: int = 200


def main(arguments: Arguments) -> None:
    """Run the erases, and print the worker's memory."""
    config, display = arguments.settings(arguments.clean_fractions), Display(Console(stderr=True))
    held: list[dict[str, float]] = []
    with (
        workload_of(config, lambda scenario: scenario.validation, cpus=1, display=display) as workload,
        display.stage("erases", "erases") as step,
    ):

        def keep(_index: int, memory: dict[str, float]) -> None:
            held.append(memory)
            step(len(held), arguments.erases)

        points = short_points(config, arguments.erases)
        tasks.run_tasks(erase_and_weigh, points, payload=workload, on_done=keep)
    if len({memory["process"] for memory in held}) > 1:
        raise SystemExit("the erases ran in more than one process: nothing to compare")
    own = [memory["own"] for memory in held]
    result = {
        "erases": len(held),
        "own_megabytes": round(max(own)),
        "resident_megabytes": round(max(memory["resident"] for memory in held)),
        "growth_megabytes": round(own[-1] - max(own[:WARM_UP])),
    }
    print(
        f"a worker holds {result['own_megabytes']} MB of its own, {result['resident_megabytes']} MB with shared pages;"
    )
    print(f"{result['growth_megabytes']} MB more after erase {len(held)} than at most in the first {WARM_UP}")
    print(json.dumps(result))


def short_points(config: StudyConfig, count: int) -> list[Point]:
    """Random points of the space, cut to a few epochs."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = search_spaces.get(config.search.space)
    domain = Domain(config.layers, config.search.fractions, dict.fromkeys(config.layers, 1.0))
    points = [space.suggest(study.ask(), domain) for _ in range(count)]
    return [Point(fraction, replace(erase, epochs=EPOCHS)) for fraction, erase in points]


def erase_and_weigh(point: Point, workload: Workload, _progress: Progress) -> dict[str, float]:
    """Run one trial.  Returns this process's memory in MB, and its id."""
    setting = point.values(tuple(workload.pairs))
    run_trial({"setting": setting, "draw": 0, "seed": 0}, workload, lambda _report: None)
    return {**held_megabytes(), "process": float(os.getpid())}


def held_megabytes() -> dict[str, float]:
    """Memory of this process: `own`, and `resident` with shared pages."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kilobytes = {
        name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "kB" in value
    }
    return {"own": kilobytes["RssAnon"] / 1000, "resident": kilobytes["VmRSS"] / 1000}


if __name__ == "__main__":
    main(tyro.cli(Arguments))

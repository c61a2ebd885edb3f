"""Threads, open files and memory of Ray and its workers on this machine: `python -m benchmarks.machine`.

For each number of workers: start Ray, let the workers import a trial's modules and run one convolution, then count all
processes. Source of the limits in `study.engine.machine`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import tyro

from study.engine import session


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Threads, open files and memory of Ray and its workers."""

    workers: tuple[int, ...] = (1, 2, 4)


class _Worker:
    """Actor of one worker."""

    def compute(self) -> None:
        import torch

        import study.engine.erase_task  # noqa: F401 - a trial imports it

        torch.nn.functional.conv2d(torch.ones(8, 16, 32, 32), torch.ones(16, 16, 3, 3))


def main(arguments: Arguments) -> None:
    """Measure, and print a line of JSON for each number of workers."""
    for workers in arguments.workers:
        before = _taken()
        with session.ray_session(cpus=workers):
            actors: list[Any] = [ray.remote(num_cpus=1)(_Worker).remote() for _ in range(workers)]
            ray.get([actor.compute.remote() for actor in actors])
            taken = _taken()
        more = {name: taken[name] - before[name] for name in ("processes", "threads", "megabytes")}
        print(json.dumps({"workers": workers, **more, "files_of_one_process": taken["files_of_one_process"]}))


def _taken() -> dict[str, int]:
    """Totals of this process and its descendants; megabytes: proportional set size."""
    folders = [Path(f"/proc/{pid}") for pid in _family(os.getpid())]
    return {
        "processes": len(folders),
        "threads": sum(len(os.listdir(folder / "task")) for folder in folders),
        "files_of_one_process": max(len(os.listdir(folder / "fd")) for folder in folders),
        "megabytes": sum(_pss(folder) for folder in folders) // 1024,
    }


def _family(pid: int) -> list[int]:
    children = (Path(f"/proc/{pid}/task") / thread / "children" for thread in os.listdir(f"/proc/{pid}/task"))
    return [pid, *(each for listed in children for child in listed.read_text().split() for each in _family(int(child)))]


def _pss(folder: Path) -> int:
    found = re.search(r"^Pss:\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main(tyro.cli(Arguments))

"""`python -m benchmarks.machine`: threads, open files and memory that Ray and its workers take on this machine.

With each number of workers that is named: Ray is started, that many workers import what a trial needs and make one
convolution, and all processes are counted while they wait. What `study.engine.machine` asks for comes from here.
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
    """What Ray and its workers take, by the number of workers."""

    workers: tuple[int, ...] = (1, 2, 4)


class _Worker:
    """The actor: a worker that has computed something."""

    def compute(self) -> None:
        import torch

        import study.engine.erase_task  # noqa: F401 - what a trial imports

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
    """By this process and all below it; megabytes are those of its proportional set size."""
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

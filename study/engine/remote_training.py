"""A victim's training on a cluster instead of on the driver's machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import ray
import torch

from nad.checkpoints import Checkpoint
from nad.progress import Progress
from nad.work import Runner, Work, run_here
from study.engine import tasks
from study.engine.erase_task import Weights, as_arrays
from study.engine.lifeline import Lifeline, RayLost
from study.engine.meter import Meter, teller
from study.engine.nodes import Share, largest_share

_LOOK_SECONDS = 0.5
_STARTED = (0, 0)
_ONLY = 0
"""Index of the task, for its meter."""
_PATIENCE = 15.0
"""Seconds until a task that has not started is worth a word."""


def runner(address: str | None, say: Callable[[str], None]) -> Runner:
    """Where this study's victims are trained: on the cluster that it runs on, else here."""
    return run_here if address is None else partial(_run_on_cluster, say)


def _run_on_cluster(
    say: Callable[[str], None], work: Work, _device: torch.device | None, progress: Progress | None
) -> Checkpoint:
    """As a task on a GPU if the cluster has one, else on all CPUs of its largest node; the weights come back.

    The number of threads is at most that of those CPUs, so the weights depend on the node and its load, as those of a
    victim that is trained here depend on this machine.
    Raises: what the work raises; NadError if its node is lost twice; RayLost.
    """
    share = largest_share()
    started = time.monotonic()
    last: tuple[int, int] | None = None
    told = False

    def watch(latest: tuple[int, int] | None) -> None:
        nonlocal last, told
        if latest is None and not told and time.monotonic() - started > _PATIENCE:
            told = True
            say(f"waiting for {share} of one node, which the cluster's other work has taken")
        if latest not in (None, _STARTED, last) and progress is not None:
            progress(*latest)
        last = latest

    weights, card = _run_watched(work, share, watch)
    return Checkpoint({name: torch.from_numpy(values.copy()) for name, values in weights.items()}, card)


def _run_watched(
    work: Work, share: Share, watch: Callable[[tuple[int, int] | None], None]
) -> tuple[Weights, dict[str, object]]:
    """The task's result; watch is called twice a second with its progress, None before it starts."""
    meter = Meter()
    meter.open()
    # A node that is lost costs one more training; what the work raises is raised at once.
    task = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=1)(_train).remote(
        work, share.cpus, meter.name
    )
    lifeline = Lifeline()
    try:
        while not ray.wait([task], timeout=_LOOK_SECONDS)[0]:
            lifeline.check()
            watch(meter.read().get(_ONLY))
        watch(meter.read().get(_ONLY))
        made: tuple[Weights, dict[str, object]] = tasks.fetch(task)
    except RayLost:
        raise  # nobody is there to end them, and asking would wait for it
    except BaseException:
        ray.cancel(task, force=True)
        raise
    return made


def _train(work: Work, threads: int, meter: str) -> tuple[Weights, dict[str, object]]:
    """In the task; returns plain arrays, for the driver may have no GPU."""

    show = teller(meter, _ONLY)
    show(*_STARTED)
    torch.set_num_threads(threads)
    made = run_here(work, torch.device(tasks.granted_device()), show)
    return as_arrays(made.state), made.card

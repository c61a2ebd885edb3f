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

_POLL_SECONDS = 0.5
_STARTED = (0, 0)
_ONLY = 0
"""Index of the task, for its meter."""
_PATIENCE = 15.0
"""Seconds of waiting for a start before the user is told."""


def runner(address: str | None, say: Callable[[str], None]) -> Runner:
    """The place for training victims: the study's cluster, else here."""
    return run_here if address is None else partial(_run_on_cluster, say)


def _run_on_cluster(
    say: Callable[[str], None], work: Work, _device: torch.device | None, progress: Progress | None
) -> Checkpoint:
    """Train as one task, on a GPU, else on all CPUs of the largest node.

    The weights depend on the number of threads, so on the node and its load, as they do for training here.
    Raises: the work's own errors; NadError if its node is lost twice; RayLost.
    """
    share = largest_share()
    started = time.monotonic()
    last: tuple[int, int] | None = None
    told = False

    def watch(latest: tuple[int, int] | None) -> None:
        nonlocal last, told
        if latest is None and not told and time.monotonic() - started > _PATIENCE:
            told = True
            say(f"waiting for {share} of one node: the cluster's other work has them now")
        if latest not in (None, _STARTED, last) and progress is not None:
            progress(*latest)
        last = latest

    weights, card = _run_watched(work, share, watch)
    return Checkpoint({name: torch.from_numpy(values.copy()) for name, values in weights.items()}, card)


def _run_watched(
    work: Work, share: Share, watch: Callable[[tuple[int, int] | None], None]
) -> tuple[Weights, dict[str, object]]:
    """The task's result; calls watch with its progress, None before the start."""
    meter = Meter()
    meter.open()
    # A lost node costs one more training; errors of the work itself are raised at once.
    task = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=1)(_train).remote(
        work, share.cpus, meter.name
    )
    lifeline = Lifeline()
    try:
        while not ray.wait([task], timeout=_POLL_SECONDS)[0]:
            lifeline.check()
            watch(meter.read().get(_ONLY))
        watch(meter.read().get(_ONLY))
        made: tuple[Weights, dict[str, object]] = tasks.fetch(task)
    except RayLost:
        raise  # cancelling would wait for the lost Ray
    except BaseException:
        ray.cancel(task, force=True)
        raise
    return made


def _train(work: Work, threads: int, meter: str) -> tuple[Weights, dict[str, object]]:
    """In the task; returns plain arrays, since the driver may have no GPU."""
    show = teller(meter, _ONLY)
    show(*_STARTED)
    torch.set_num_threads(threads)
    made = run_here(work, torch.device(tasks.granted_device()), show)
    return as_arrays(made.state), made.card

"""Tasks on the running Ray, and its room for them.

Tasks are written without Ray, as `function(argument, payload, progress) -> result`, and call `progress` as they go.
They travel by reference, so their module must be importable by workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from nad.errors import ConfigError, NadError
from nad.progress import Progress
from study.engine.lifeline import PERIOD, Lifeline
from study.engine.meter import Meter, teller
from study.search.lost_trial import lost_process

TaskFunction = Callable[[Any, Any, Progress], Any]
ShareTold = Callable[[Sequence[float]], None]

LONG = 5.0
"""Seconds: longer tasks are worth a process for their progress."""


def available_slots(cpus: float, gpus: float = 0.0) -> int:
    """Number of trials or tasks of this size with room on the nodes at once.

    Raises: ConfigError if no node has room for one: it would wait for ever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    slots = sum(_slots_of(node, cpus, gpus) for node in nodes)
    if slots == 0:
        most = [f"{max((node.get(kind, 0) for node in nodes), default=0):g} {kind}s" for kind in ("CPU", "GPU")]
        raise ConfigError(
            f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, but Ray's largest node has {' and '.join(most)}; "
            "lower --cpus-per-trial or --gpus-per-trial"
        )
    return slots


def _slots_of(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    # the small term is for rounding: 0.1 of a GPU fits ten times
    return int(min(node.get(kind, 0) / size + 1e-9 for kind, size in (("CPU", cpus), ("GPU", gpus)) if size))


def granted_device() -> str:
    """Torch's name of this task's or trial's device: a GPU only if Ray granted one.

    A trial without one may still see its node's GPUs; it must not use them. On a shared GPU, this process is limited to
    its share of the memory: a greedy trial fails alone, without harm to the others.
    """
    if not ray.is_initialized() or not ray.get_gpu_ids():
        return "cpu"
    import torch  # late: the engine knows nothing of models

    share = ray.get_runtime_context().get_assigned_resources().get("GPU", 1.0)  # type: ignore[no-untyped-call]
    torch.cuda.set_per_process_memory_fraction(share, 0)
    return "cuda:0"


def run_tasks(
    function: TaskFunction,
    arguments: Sequence[Any],
    *,
    payload: Any = None,
    cpus: float = 1,
    gpus: float = 0.0,
    on_done: Callable[[int, Any], None] = lambda _index, _result: None,
    on_progress: ShareTold | None = None,
) -> list[Any]:
    """Run function(argument, payload, progress) for every argument, in parallel; results in the arguments' order.

    payload: goes into the object store once; numpy arrays in it are shared and read-only.
    on_done: called with the index and the result of each task as it ends.
    on_progress: called with the share done, from 0 to 1, of each running task, as long tasks advance.
    Raises: the first failing task's error, after stopping the others; NadError if a worker process died.
    """
    available_slots(cpus, gpus)
    shared = ray.put(payload)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus)(_run_told).options(name=function.__name__)
    watch = _Watch(on_progress)
    indices = {
        task.remote(function, argument, shared, watch.meter.name, index): index
        for index, argument in enumerate(arguments)
    }
    results: list[Any] = [None] * len(arguments)
    pending = list(indices)
    lifeline = Lifeline()
    try:
        while pending:
            ended, pending = ray.wait(pending, timeout=PERIOD)
            lifeline.check()
            for done in ended:
                results[indices[done]] = fetch(done)
                on_done(indices[done], results[indices[done]])
            watch.update([indices[left] for left in pending])
    except BaseException:
        for left in pending:
            ray.cancel(left, force=True)
        raise
    return results


class _Watch:
    """Progress of long tasks, reported as it changes."""

    def __init__(self, on_progress: ShareTold | None) -> None:
        self.meter = Meter()
        self._on_progress, self._started, self._last = on_progress, time.monotonic(), list[float]()

    def update(self, running: Sequence[int]) -> None:
        """running: indices of the tasks under way."""
        if self._on_progress is None or time.monotonic() - self._started <= LONG:
            return
        self.meter.open()
        told = self.meter.read()
        shares = [done / total for done, total in (told[index] for index in running if index in told)]
        if shares != self._last:
            self._last = shares
            self._on_progress(shares)


def _run_told(function: TaskFunction, argument: Any, payload: Any, meter: str, index: int) -> Any:
    """In the worker."""
    return function(argument, payload, teller(meter, index))


def fetch(reference: ray.ObjectRef[Any]) -> Any:
    """A task's result.  Raises: its own error; NadError if its worker process died."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error  # the cause has the type and the text, the wrapper the remote traceback
    except RayError as error:
        raise NadError(f"a worker process was lost: {lost_process(str(error))}; run the same command again") from error

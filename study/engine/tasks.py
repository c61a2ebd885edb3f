"""Tasks on the Ray that runs, and what room it has for them.

What runs on Ray is written without Ray: a task is `function(argument, payload, progress) -> result`, and tells by
`progress` how far it is. It travels by reference: it lives in a module that workers can import.
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

LONG = 5.0
"""Seconds from which on tasks are long, and it is worth a process to know how far they are."""


def available_slots(cpus: float, gpus: float = 0.0) -> int:
    """How many trials or tasks of this size the nodes hold at once.

    Raises: ConfigError if no node can hold one: it would wait for ever.
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
    # the small term: 0.1 of a GPU fits ten times, in spite of rounding
    return int(min(node.get(kind, 0) / size + 1e-9 for kind, size in (("CPU", cpus), ("GPU", gpus)) if size))


def granted_device() -> str:
    """The device of this task or trial, in torch's words: a GPU only where Ray granted one.

    A trial without one may still see the GPUs of its node; it must not use them. On a GPU that it shares, this process
    is held to its share of the memory: one that needs more fails by itself, instead of making the others fail.
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
    on_done: Callable[[int, Any], None] | None = None,
    on_progress: Callable[[Sequence[float]], None] | None = None,
) -> list[Any]:
    """Run function(argument, payload, progress) for every argument, in parallel; results in the arguments' order.

    payload: goes into the object store once; numpy arrays in it are shared and read-only.
    on_done: called with the index and the result of each task as it ends.
    on_progress: called when long tasks have come further, with how much of each running one is done, from 0 to 1.
    Raises: what the first failing task raised, after stopping the others; NadError if a worker process died.
    """
    available_slots(cpus, gpus)
    shared = ray.put(payload)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus)(_run_told).options(name=function.__name__)
    meter = Meter()
    indices = {
        task.remote(function, argument, shared, meter.name, index): index for index, argument in enumerate(arguments)
    }
    results: list[Any] = [None] * len(arguments)
    pending = list(indices)
    lifeline = Lifeline()
    started, seen = time.monotonic(), list[float]()
    try:
        while pending:
            ended, pending = ray.wait(pending, timeout=PERIOD)
            lifeline.check()
            for done in ended:
                results[indices[done]] = fetch(done)
                if on_done is not None:
                    on_done(indices[done], results[indices[done]])
            if on_progress is not None and time.monotonic() - started > LONG:
                meter.open()
                told = meter.read()
                words = [told[indices[left]] for left in pending if indices[left] in told]
                parts = [done / total for done, total in words]
                if parts != seen:
                    seen = parts
                    on_progress(parts)
    except BaseException:
        for left in pending:
            ray.cancel(left, force=True)
        raise
    return results


def _run_told(function: TaskFunction, argument: Any, payload: Any, meter: str, index: int) -> Any:
    """In the worker."""
    return function(argument, payload, teller(meter, index))


def fetch(reference: ray.ObjectRef[Any]) -> Any:
    """What a task returned.  Raises: what it raised; NadError if its worker process died."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error  # the cause has the type and the text, the wrapper the remote traceback
    except RayError as error:
        raise NadError(f"a worker process was lost: {lost_process(str(error))}; run the same command again") from error

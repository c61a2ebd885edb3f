"""Nodes of the running Ray: resources, remote calls on each, and requests for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.engine.tasks import fetch


class Share(NamedTuple):
    """Resources of one task on one node."""

    cpus: int
    gpus: int

    def __str__(self) -> str:
        return f"{self.gpus} GPU" if self.gpus else f"{self.cpus} CPUs"


def working_nodes() -> dict[str, dict[str, Any]]:
    """Live nodes with a CPU for tasks, by id, in Ray's description."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1}


def largest_share() -> Share:
    """A GPU if any node has one, else all CPUs of the node with most."""
    resources = [node["Resources"] for node in working_nodes().values()]
    if any(one.get("GPU", 0) >= 1 for one in resources):
        return Share(1, 1)
    return Share(int(max((one["CPU"] for one in resources), default=1)), 0)


def on_every_node(function: Callable[..., Any], arguments: tuple[Any, ...], *, seconds: float) -> list[tuple[str, Any]]:
    """Each working node's name and its result of function(*arguments), or the failure as text.

    function: from a module importable on every node.  seconds: limit for the slowest node.
    """
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    asked = {node: task.options(scheduling_strategy=pinned(node)).remote(*arguments) for node in working_nodes()}
    ready, late = ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds) if asked else ([], [])
    for reference in late:
        ray.cancel(reference, force=True)
    answered = set(ready)
    return [
        (_name_of(node), _answer(reference) if reference in answered else f"no answer in {seconds:g} s")
        for node, reference in asked.items()
    ]


def _answer(reference: ray.ObjectRef[Any]) -> Any:
    try:
        return fetch(reference)
    except Exception as error:
        return " ".join(str(error.__cause__ or error).split())[-300:]


def pinned(node: str) -> NodeAffinitySchedulingStrategy:
    """On this node or nowhere."""
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _name_of(node: str) -> str:
    """For people: its address and host name."""
    found = next(one for one in ray.nodes() if one["NodeID"] == node)  # type: ignore[no-untyped-call]
    return f"{found['NodeManagerAddress']} ({found['NodeManagerHostname']})"


@contextmanager
def requested(count: int, cpus: float, gpus: float) -> Iterator[None]:
    """Ask an autoscaler for room for so many tasks during the block."""
    size = {name: value for name, value in (("CPU", cpus), ("GPU", gpus)) if value}
    request_resources(bundles=[size] * count)
    try:
        yield
    finally:
        request_resources(bundles=[])

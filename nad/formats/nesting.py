"""Weights in nested containers: found by their kind, not by their key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

Weights = Mapping[str, Any]
"""Values by name, tensors among them."""

LONGEST = 500
"""Characters of a place; deeper containers are not searched."""

MOST = 16
"""Most places tried in a file, those with the most tensors."""


def as_state(value: object) -> Weights | None:
    """Weights by name, of a state dict or a whole model; None for anything else."""
    if isinstance(value, nn.Module):
        return value.state_dict() or None
    if not isinstance(value, Mapping) or not value:
        return None
    names = all(isinstance(name, str) for name in value)
    return value if names and _tensors(value) else None


def weights_in(value: object) -> dict[str, Weights]:
    """All weights in nested dicts and lists, by their place such as `checkpoint.net`; '' is the whole."""
    found = dict(_walk(value))
    largest = sorted(found, key=lambda place: -_tensors(found[place]))[:MOST]
    return {place: weights for place, weights in found.items() if place in largest}


def largest(found: Mapping[str, Weights]) -> str:
    """The place with the most tensors."""
    return max(found, key=lambda place: _tensors(found[place]))


def _walk(value: object) -> Iterator[tuple[str, Weights]]:
    """Places from the outside in; a container is visited once, so a file cannot make this endless."""
    waiting, seen = [("", value)], {id(value)}
    for place, container in waiting:
        state = as_state(container)
        if state is not None:
            yield place, state
        for key, inner in _items(container):
            if id(inner) not in seen and len(place) <= LONGEST:
                seen.add(id(inner))
                waiting.append((f"{place}.{key}" if place else str(key), inner))


def _items(container: object) -> Iterator[tuple[object, object]]:
    """Containers and modules in a dict or list, by key."""
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(container, Mapping):
        pairs = container.items()
    elif isinstance(container, list | tuple):
        pairs = enumerate(container)
    return ((key, inner) for key, inner in pairs if isinstance(inner, Mapping | list | tuple | nn.Module))


def _tensors(state: Weights) -> int:
    return sum(isinstance(value, Tensor) for value in state.values())

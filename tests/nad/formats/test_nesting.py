"""Finding weights in nested containers."""

from typing import Any

import torch
from torch import nn

from nad.formats.nesting import MOST, largest, weights_in

STATE = {"conv.weight": torch.ones(2), "conv.bias": torch.ones(1)}


def test_weights_are_named_by_their_place_from_the_outside_in() -> None:
    assert weights_in(STATE) == {"": STATE}
    nested = {"run": [{"net": STATE}], "model": nn.Linear(2, 1), "epoch": 3, "acc": torch.tensor(0.9)}
    assert list(weights_in(nested)) == ["", "model", "run.0.net"]
    assert largest(weights_in(nested)) == "model"
    assert weights_in([3, "text", {}, {1: torch.ones(1)}, {"a": {}}]) == {}


def test_container_within_itself_and_shared_containers_are_visited_once() -> None:
    loop: dict[str, Any] = {"net": STATE}
    loop["self"] = loop
    assert list(weights_in(loop)) == ["net"]
    doubled: Any = STATE
    for _ in range(60):
        doubled = [doubled, doubled]
    assert len(weights_in(doubled)) == 1
    endless: Any = STATE
    for _ in range(10_000):
        endless = [endless]
    assert weights_in(endless) == {}


def test_moments_of_an_optimiser_do_not_crowd_out_the_weights() -> None:
    moments = {index: {"momentum_buffer": torch.ones(1)} for index in range(10 * MOST)}
    found = weights_in({"optimizer": {"state": moments}, "net": STATE})
    assert "net" in found
    assert len(found) == MOST

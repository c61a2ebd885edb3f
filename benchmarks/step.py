"""Cost of a training step, and its share of the machine's arithmetic rate: `python -m benchmarks.step`.

One thread (or one GPU), batches of 64 images of 32 pixels. torch counts a step's arithmetic (convolutions and matrix
products, forwards and backwards); one large matrix product in the same process gives the machine's rate. Each runs in
both precisions; medians over rounds of turns. The last line is JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode

from nad import models
from nad.augment import Augment, to_input
from nad.models.frozen import in_eval_mode
from nad.precision import Precision, autocast
from nad.training import cross_entropy

BATCH, CLASSES, SIDE = 64, 10, 32
MATRIX = 1024
ROUNDS, REPEATS = 7, 5


@dataclass(frozen=True)
class Arguments:
    """Cost of a training step, and its share of the machine's arithmetic rate."""

    model: str = "wrn-16-1"
    device: str = "cpu"


class Subject:
    """A model in training on random images.

    step, pass_both_ways: in a precision.  evaluate: a forward pass without gradients.
    """

    def __init__(self, model: str, device: torch.device) -> None:
        self.device = device
        self.model = models.make(model, CLASSES).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
        self.images = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8)
        self.labels = torch.randint(CLASSES, (BATCH,), device=device)
        self.augment, self.draws = Augment(flip=True), torch.Generator().manual_seed(0)
        self.inputs = to_input(self.images, device)

    def pass_both_ways(self, precision: Precision = "float32") -> None:
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(self.device, precision):
            loss = cross_entropy(self.model, self.inputs, self.labels)
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self, precision: Precision = "float32") -> None:
        to_input(self.augment(self.images, self.draws), self.device)
        self.pass_both_ways(precision)
        self.optimiser.step()

    def evaluate(self) -> None:
        with torch.inference_mode(), in_eval_mode(self.model):
            self.model(self.inputs)


def main(arguments: Arguments) -> None:
    """Measure in turns, and print."""
    torch.set_num_threads(1)
    subject = Subject(arguments.model, torch.device(arguments.device))
    square = torch.randn(MATRIX, MATRIX, device=subject.device)
    half = square.bfloat16()
    with FlopCounterMode(display=False) as counter:
        subject.pass_both_ways()
    work: dict[str, Callable[[], object]] = {
        "step": subject.step,
        "forwards and backwards": subject.pass_both_ways,
        "forwards": subject.evaluate,
        "matrix product": lambda: square @ square,
        "step in bfloat16": lambda: subject.step("bfloat16"),
        "matrix product in bfloat16": lambda: half @ half,
    }
    result = figures(in_turns(work, subject.device), counter.get_total_flops())
    show(arguments.model, result)
    print(json.dumps(result))


def figures(seconds: dict[str, float], flops: int) -> dict[str, Any]:
    """All figures from the seconds of each kind of work; flops: of one step."""

    def rates(suffix: str) -> dict[str, float]:
        step, product = seconds[f"step{suffix}"], seconds[f"matrix product{suffix}"]
        rate, most = flops / step, 2 * MATRIX**3 / product
        return {
            "images_per_second": round(BATCH / step),
            "gigaflops": round(rate / 1e9, 1),
            "gigaflops_of_a_matrix_product": round(most / 1e9, 1),
            "share": round(rate / most, 2),
        }

    beside = 1 - seconds["forwards and backwards"] / seconds["step"]
    times = round(seconds["step"] / seconds["step in bfloat16"], 2)
    return {
        **rates(""),
        "evaluated_per_second": round(BATCH / seconds["forwards"]),
        "share_of_the_step_beside_forwards_and_backwards": round(beside, 3),
        "bfloat16": {**rates(" in bfloat16"), "times_as_fast": times},
    }


def show(model: str, result: dict[str, Any]) -> None:
    """Print the figures for people."""
    half = result["bfloat16"]
    for title, found, more in ((model, result, ""), ("in bfloat16", half, f" ({half['times_as_fast']} times as fast)")):
        print(
            f"{title}: {found['images_per_second']} images/s{more}, {found['gigaflops']} GFLOP/s:"
            f" {found['share']:.0%} of a matrix product's {found['gigaflops_of_a_matrix_product']}"
        )


def in_turns(work: dict[str, Callable[[], object]], device: torch.device) -> dict[str, float]:
    """Seconds of one call of each: medians over rounds of turns."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for round_number in range(ROUNDS + 1):
        for name, call in work.items():
            _wait(device)
            started = time.perf_counter()
            for _ in range(REPEATS):
                call()
            _wait(device)
            if round_number:  # the first round warms up
                found[name].append((time.perf_counter() - started) / REPEATS)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main(tyro.cli(Arguments))

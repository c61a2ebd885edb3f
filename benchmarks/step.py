"""`python -m benchmarks.step`: what a training step costs, and what share of the machine's arithmetic it uses.

One thread (or one GPU), batches of 64 images of 32 pixels. The arithmetic of a step is counted by torch (convolutions
and matrix products, forwards and backwards); beside it stands the rate that one large matrix product reaches in the
same process, each in both precisions. Medians over rounds that take turns. The last line is the same as one JSON
object.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

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
    """What a training step costs, and what share of the machine's arithmetic it uses."""

    model: str = "wrn-16-1"
    device: str = "cpu"


def main(arguments: Arguments) -> None:
    """Measure in turns, and print."""
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    model = models.make(arguments.model, CLASSES).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    images = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.randint(CLASSES, (BATCH,), device=device)
    augment, draws = Augment(flip=True), torch.Generator().manual_seed(0)
    square = torch.randn(MATRIX, MATRIX, device=device)
    inputs = to_input(images, device)

    half = square.bfloat16()

    def forwards_and_backwards(precision: Precision = "float32") -> None:
        optimiser.zero_grad(set_to_none=True)
        with autocast(device, precision):
            loss = cross_entropy(model, inputs, labels)
        loss.backward()  # type: ignore[no-untyped-call]

    def step(precision: Precision = "float32") -> None:
        to_input(augment(images, draws), device)
        forwards_and_backwards(precision)
        optimiser.step()

    def evaluation() -> None:
        with torch.inference_mode(), in_eval_mode(model):
            model(inputs)

    with FlopCounterMode(display=False) as counter:
        forwards_and_backwards()
    work: dict[str, Callable[[], object]] = {
        "step": step,
        "forwards and backwards": forwards_and_backwards,
        "forwards": evaluation,
        "matrix product": lambda: square @ square,
        "step in bfloat16": lambda: step("bfloat16"),
        "matrix product in bfloat16": lambda: half @ half,
    }
    seconds = in_turns(work, device)
    rate, half_rate = (counter.get_total_flops() / seconds[name] for name in ("step", "step in bfloat16"))
    product, half_product = (2 * MATRIX**3 / seconds[name] for name in ("matrix product", "matrix product in bfloat16"))
    rates = {
        "images_per_second": round(BATCH / seconds["step in bfloat16"]),
        "times_as_fast": round(seconds["step"] / seconds["step in bfloat16"], 2),
        "gigaflops_of_a_matrix_product": round(half_product / 1e9, 1),
        "share": round(half_rate / half_product, 2),
    }
    result = {
        "images_per_second": round(BATCH / seconds["step"]),
        "evaluated_per_second": round(BATCH / seconds["forwards"]),
        "gigaflops": round(rate / 1e9, 1),
        "gigaflops_of_a_matrix_product": round(product / 1e9, 1),
        "share": round(rate / product, 2),
        "share_of_the_step_beside_forwards_and_backwards": round(
            1 - seconds["forwards and backwards"] / seconds["step"], 3
        ),
        "bfloat16": rates,
    }
    print(
        f"{arguments.model}: {result['images_per_second']} images/s, {result['gigaflops']} GFLOP/s, which is", end=" "
    )
    print(f"{100 * rate / product:.0f}% of a matrix product's {result['gigaflops_of_a_matrix_product']}")
    print(
        f"in bfloat16: {rates['images_per_second']} images/s, {rates['times_as_fast']} times as fast, which is"
        f" {100 * half_rate / half_product:.0f}% of a matrix product's {rates['gigaflops_of_a_matrix_product']}"
    )
    print(json.dumps(result))


def in_turns(work: dict[str, Callable[[], object]], device: torch.device) -> dict[str, float]:
    """Seconds of one call of each: the median over rounds in which each has its turn."""
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

"""Seconds of each attack to poison a training set: `python -m benchmarks.attacks`.

Every attack poisons the whole set at its usual rates and labels, then triggers every image of it. CL and Trojan are
crafted first, on an untrained model: a trained one takes as long. One thread per core. The last line is JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
import tyro

from nad import models
from nad.attacks import ATTACKS, Attack, make, poison
from nad.attacks.custom import Custom
from nad.attacks.poisoning import choose
from nad.cores import cores
from nad.data.base import LabelledImages
from nad.models.base import DistillableModel
from nad.seeds import generator

T = TypeVar("T")


@dataclass(frozen=True)
class Arguments:
    """Seconds of each attack to poison a training set."""

    images: int = 50_000
    size: int = 32
    """Pixels a side."""
    classes: int = 10
    model: str = "wrn-16-1"
    """Model to craft CL and Trojan on."""


def main(arguments: Arguments) -> None:
    """Measure each attack, and print."""
    torch.set_num_threads(cores())
    shape = (arguments.images, 3, arguments.size, arguments.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0))
    clean = LabelledImages(images, torch.arange(arguments.images) % arguments.classes)
    network = models.make(arguments.model, arguments.classes, generator(0, "weights"))
    print(f"seconds for {arguments.images:,} images of {arguments.size}x{arguments.size}")
    print(f"{'attack':>8} {'made':>8} {'poisoned':>9} {'on all':>8}")
    results = {}
    for name in (name for name in ATTACKS if name != Custom.name):
        results[name] = found = measure(make(name), clean, network)
        print(f"{name:>8} {found['made']:>8.2f} {found['poisoned']:>9.2f} {found['on_all']:>8.2f}")
    print(
        json.dumps({name: {step: round(value, 2) for step, value in found.items()} for name, found in results.items()})
    )


def measure(attack: Attack, clean: LabelledImages, network: DistillableModel) -> dict[str, float]:
    """Seconds of each step."""
    made, ready = 0.0, attack
    if attack.needs_clean_model:
        chosen = clean[choose(clean.labels, attack, generator(0, "poison"))]
        pixels, made = _timed(partial(attack.craft, network, chosen, generator(0, "craft")))
        ready = attack.with_crafted(pixels)
    _, poisoned = _timed(partial(poison, clean, ready, generator(0, "poison")))
    _, on_all = _timed(partial(ready.trigger, clean.images, generator(0, "trigger")))
    return {"made": made, "poisoned": poisoned, "on_all": on_all}


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Result of the work, and its seconds."""
    started = time.perf_counter()
    made = work()
    return made, time.perf_counter() - started


if __name__ == "__main__":
    main(tyro.cli(Arguments))

"""Seconds of the check for a model without skill on the given images: `python -m benchmarks.judging`.

The images are noise and the model is untrained: neither changes the cost. The last line is JSON.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import torch
import tyro

from nad import models
from nad.data.base import LabelledImages
from nad.errors import DataError
from nad.judging import require_known
from nad.seeds import generator

CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Model and number of images to check it on."""

    model: str = "wrn-16-1"
    images: int = 10_000
    image_size: int = 32
    threads: int = 1
    repeats: int = 7


def main(arguments: Arguments) -> None:
    """Print medians over the repeats: wall and CPU seconds."""
    torch.set_num_threads(arguments.threads)
    draws, side = generator(0, "noise"), arguments.image_size
    pixels = torch.randint(0, 256, (arguments.images, 3, side, side), dtype=torch.uint8, generator=draws)
    data = LabelledImages(pixels, torch.arange(arguments.images) % CLASSES)
    model = models.make(arguments.model, CLASSES, generator(0, "weights"))
    wall, processor = [], []
    for _ in range(arguments.repeats):
        began = time.perf_counter(), time.process_time()
        with suppress(DataError):
            require_known(model, data, allow="do so")
        wall.append(time.perf_counter() - began[0])
        processor.append(time.process_time() - began[1])
    print(json.dumps({"seconds": round(median(wall), 3), "processor_seconds": round(median(processor), 3)}))


if __name__ == "__main__":
    main(tyro.cli(Arguments))

"""ANP's time per iteration, beside the authors' order of passes in single precision: `python -m benchmarks.anp`.

Theirs: a pass under random pushes for their step, one under the stepped pushes, one without. Ours: one without pushes,
which gives their step too, and one under them; in the precision of a study. One thread, random images; medians over
rounds of turns. The last line is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro

from benchmarks.step import CLASSES, SIDE, in_turns
from nad import models
from nad.augment import to_input
from nad.defences.anp import AdversarialNeuronPruning, MaskedNetwork
from nad.precision import Precision, computes_in_bfloat16
from nad.seeds import generator


@dataclass(frozen=True)
class Arguments:
    """ANP's time per iteration, beside the authors' order of passes in single precision."""

    model: str = "wrn-16-1"
    device: str = "cpu"


def main(arguments: Arguments) -> None:
    """Measure in turns, and print."""
    torch.set_num_threads(1)
    device, usual = torch.device(arguments.device), AdversarialNeuronPruning()
    masked = MaskedNetwork(models.make(arguments.model, CLASSES, generator(0)).to(device).train())
    images = torch.randint(0, 256, (usual.batch_size, 3, SIDE, SIDE), dtype=torch.uint8)
    batch = to_input(images, device), torch.randint(CLASSES, (usual.batch_size,), device=device)
    mask, none = torch.ones(masked.channels, device=device), torch.zeros(2, masked.channels, device=device)

    def theirs() -> None:
        start = usual.eps * (2 * torch.rand_like(none) - 1)
        _loss, slope = masked.slope(start, mask, *batch)
        masked.slope(start + usual.eps * slope.sign(), mask, *batch)
        masked.slope(none, mask, *batch)

    def ours(precision: Precision) -> None:
        _loss, slope = masked.slope(none, mask, *batch, precision)
        masked.worst_slope(slope, usual.eps, usual.steps, mask, *batch, precision)

    work: dict[str, Callable[[], object]] = {"theirs": theirs, "ours": lambda: ours("float32")}
    if computes_in_bfloat16(device):
        work["ours in bfloat16"] = lambda: ours("bfloat16")
    seconds = in_turns(work, device)
    result = {name: round(each, 4) for name, each in seconds.items()}
    for name, each in seconds.items():
        print(f"{name}: {each:.3f} s an iteration, {each / seconds['theirs']:.2f} of the authors' order")
    print(json.dumps(result))


if __name__ == "__main__":
    main(tyro.cli(Arguments))

"""Effect of distillation on the size of a model's features, by epoch: `python -m benchmarks.overshoot`.

Attention maps are normalised, so the gradient of their distance is larger for smaller features: the same beta and
learning rate take a larger step. Too large a step makes features grow until the distance hardly moves them, and the
classifier does not recover. This erases one victim as published, without the deepest layer, and without distillation,
each at the published learning rate and at a tenth of it. It prints the size of the features (root mean square of a
layer's outputs on clean validation images) and the scores. The last line is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import tyro
from rich.console import Console
from torch import nn

from benchmarks.subject import Subject, workload_of
from nad.augment import to_input
from nad.erasure import PRESETS, EraseConfig
from nad.models.frozen import in_eval_mode
from nad.models.taps import tap
from search_spaces import Point
from study.display.progress import Display
from study.engine.erase_task import Workload, erase_victim

CLEAN_FRACTION = 0.05


@dataclass(frozen=True, kw_only=True)
class Arguments(Subject):
    """Effect of distillation on the size of a model's features, by epoch."""

    preset: str = "paper"


def main(arguments: Arguments) -> None:
    """Erase the victim in each way, and print."""
    preset = PRESETS[arguments.preset]
    config = arguments.settings((CLEAN_FRACTION,))
    rows = []
    with workload_of(config, lambda scenario: scenario.test, cpus=1, display=Display(Console(stderr=True))) as workload:
        before = feature_sizes(workload.network(workload.victim, torch.device("cpu")), preset.layers, workload)
        print("victim's features:", _text(before))
        for name, setting in settings(preset).items():
            row = {"setting": name, **measure(setting, preset.layers, workload)}
            sizes = [_text(row["features"][epoch]) for epoch in (0, -1)]
            print(f"{name}: ASR {row['asr']:.1%}, ACC {row['acc']:.1%}; features after an epoch {sizes[0]};", end=" ")
            print(f"at the end {sizes[1]}", flush=True)
            rows.append(row)
    print(json.dumps({"victim": before, "erases": rows}))


def settings(preset: EraseConfig) -> dict[str, EraseConfig]:
    """By name: all published layers, all but the deepest, none; each at the published learning rate and a tenth."""
    ways = {
        "as published": preset,
        "without the deepest layer": replace(preset, layers=preset.layers[:-1], betas=preset.betas[:-1]),
        "fine-tuning": preset.twin(),
    }
    return {
        f"{name}, lr {lr:g}": replace(way, lr=lr) for lr in (preset.lr, preset.lr / 10) for name, way in ways.items()
    }


def measure(setting: EraseConfig, layers: tuple[str, ...], workload: Workload) -> dict[str, Any]:
    """Test scores of one erase, and the sizes of these layers' features after each of its epochs."""
    sizes: list[dict[str, float]] = []

    def watch(_epoch: int, student: nn.Module) -> float:
        sizes.append(feature_sizes(student, layers, workload))
        return 0.0

    _student, scores = erase_victim(Point(CLEAN_FRACTION, setting), workload.seed, workload, watch)
    return {"asr": round(scores["asr"], 4), "acc": round(scores["acc"], 4), "features": sizes}


def feature_sizes(model: nn.Module, layers: tuple[str, ...], workload: Workload) -> dict[str, float]:
    """Root mean square of each layer's outputs on the watched validation images."""
    with torch.inference_mode(), in_eval_mode(model), tap(model, layers) as features:
        model(to_input(torch.from_numpy(workload.watched_images), torch.device("cpu")))
        return {layer: round(float(values.float().square().mean().sqrt()), 3) for layer, values in features.items()}


def _text(sizes: Mapping[str, float]) -> str:
    return ", ".join(f"{layer} {size:g}" for layer, size in sizes.items())


if __name__ == "__main__":
    main(tyro.cli(Arguments))

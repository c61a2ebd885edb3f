"""A victim by our recipe, against the usual one of 19 epochs: `python -m benchmarks.victim`.

Both train the same model on the same poisoned images with one thread per core. The usual recipe, in the loop of
`benchmarks.usual_loop`, has batches of 64, a learning rate of 0.1 divided twice by ten, and both test sets after
every epoch. All victims are scored on the test images. The last line is JSON.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from rich.console import Console

from benchmarks.usual_loop import train_as_usual
from nad import models
from nad.context import TrainContext
from nad.cores import cores
from nad.evaluation import Scores, evaluate
from nad.scenario import Scenario
from nad.seeds import generator
from nad.training import TrainConfig, train
from nad.victim import VictimConfig
from study.display.progress import Display
from study.options.config import StudyConfig
from study.record.folder import cache_folder
from study.stages.preparation import Preparation

USUAL = TrainConfig(epochs=19, lr=0.1, batch_size=64, weight_decay=5e-4, cutout=0)
"""Its schedule is the usual loop's own."""


@dataclass(frozen=True)
class Arguments:
    """A victim by our recipe, against the usual one of 19 epochs."""

    dataset: str = "fashion-c"
    data_dir: Path | None = None
    attack: str = "refool"
    epochs: tuple[int, ...] = (12, 16)
    """Of our recipe, one victim each."""
    seeds: tuple[int, ...] = (0, 1)


def main(arguments: Arguments) -> None:
    """Train the victims of each seed in turn, and print the means."""
    torch.set_num_threads(cores())
    found: dict[str, list[tuple[float, Scores]]] = {}
    display = Display(Console(stderr=True))
    for seed in arguments.seeds:
        config = StudyConfig.of(
            attack=arguments.attack, dataset=arguments.dataset, data_dir=arguments.data_dir, seed=seed
        )
        cache, recipe = cache_folder(None), config.recipe
        preparation = Preparation(config, cache, display)
        scenario = preparation.prepare_attack(preparation.load_scenario(), recipe)
        found.setdefault("usual", []).append(_timed(scenario, config.victim.architecture, seed, None))
        display.say(f"seed {seed}, usual: {found['usual'][-1]}")
        for epochs in arguments.epochs:
            name = f"{epochs} epochs"
            found.setdefault(name, []).append(
                _timed(scenario, config.victim.architecture, seed, replace(recipe, epochs=epochs))
            )
            display.say(f"seed {seed}, {name}: {found[name][-1]}")
    results = {}
    for name, runs in found.items():
        ratio = sum(seconds for seconds, _ in runs) / sum(seconds for seconds, _ in found["usual"])
        asr, acc = (sum(getattr(scores, score) for _, scores in runs) / len(runs) for score in ("asr", "acc"))
        results[name] = {"time": round(ratio, 3), "asr": round(asr, 4), "acc": round(acc, 4)}
        print(f"{name:>9}: {ratio:.2f} of the usual time, test ASR {asr:.1%}, ACC {acc:.1%}")
    print(json.dumps(results))


def _timed(scenario: Scenario, model: str, seed: int, recipe: VictimConfig | None) -> tuple[float, Scores]:
    """Seconds of the training by our recipe, or by the usual one, and the victim's test scores."""
    torch.manual_seed(seed)
    network = models.make(model, scenario.dataset.classes, generator(seed, "victim", "weights"))
    data, flip = scenario.poisoned.data, scenario.dataset.flip
    eval_set = scenario.test
    started = time.perf_counter()
    if recipe is None:
        train_as_usual(network, data, eval_set, USUAL, flip=flip)
    else:
        batches = generator(seed, "victim", "batches")
        context = TrainContext(flip=flip, generator=batches, precision=recipe.precision)
        for _ in train(network, data, recipe, context):
            pass
    return time.perf_counter() - started, evaluate(network, eval_set)


if __name__ == "__main__":
    main(tyro.cli(Arguments))

"""One defence by one defender on one victim: `python -m benchmarks.defence_row --attack badnets --defence fst`.

The victim comes from the cache if a study has trained it. Scores are of the test images. `seconds` is the defence's
time, NAD's with its teacher; `peak_megabytes` the most memory of the whole process meanwhile. The last line is JSON.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from torch import nn

from benchmarks.subject import Subject
from nad import defences, models
from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.defences import DEFENCES
from nad.erasure import PRESETS, EraseConfig, distil, make_teacher
from nad.errors import EraseDiverged, TrainingDiverged, unknown_name
from nad.evaluation import evaluate
from nad.seeds import generator
from search_spaces import Point
from search_spaces.controls import on_layers
from study.display.progress import Display
from study.engine.devices import driver_device
from study.record.folder import cache_folder
from study.stages.preparation import Preparation

ERASES: dict[str, EraseConfig] = {
    "fine-tuning-paper": PRESETS["paper"].twin(),
    "fine-tuning-code": PRESETS["code"].twin(),
    **{f"nad-{name}": preset for name, preset in PRESETS.items()},
}
"""Presets by the name of their row."""
SETTING = "nad-setting"
"""The row of --setting."""
NAMES = (*ERASES, *(name for name in DEFENCES if name != "fine-tuning"), SETTING)
"""Every row; the defence `fine-tuning` is `fine-tuning-paper`."""


@dataclass(frozen=True, kw_only=True)
class Arguments(Subject):
    """One defence by one defender on one victim."""

    defence: str
    setting: str | None = None
    """JSON: an erase's values by name, as in a study's settings.csv; for `nad-setting`."""
    clean_fraction: float = 0.05
    draw: int = 1
    """Which defender. A search meets draw 0 first."""


def main(arguments: Arguments) -> None:
    """Measure, and print the row."""
    print(json.dumps(measure(arguments)))


def measure(arguments: Arguments) -> dict[str, Any]:
    """The row's figures; `error` in place of the scores for a diverged defence.

    Raises: ConfigError for an unknown name or a bad setting.
    """
    torch.set_num_threads(1)
    config = arguments.settings([arguments.clean_fraction])
    erase = erase_of(arguments, config.layers)
    preparation = Preparation(config, cache_folder(None), Display(Console(stderr=True)))
    scenario = preparation.prepare_attack(preparation.load_scenario(), config.recipe)
    device, dataset = driver_device(), scenario.dataset
    state = preparation.prepare_victim(scenario, config.recipe).state
    victim = models.with_weights(config.victim.architecture, dataset.classes, state).to(device)
    before = evaluate(victim, scenario.test, device=device)
    clean = scenario.holdout(arguments.clean_fraction, arguments.draw)
    draws = generator(config.search.seed, "defence", arguments.draw)
    context = TrainContext(flip=dataset.flip, generator=draws, device=device, precision=config.engine.used_precision)
    work = (
        by_name(arguments.defence, victim, clean, context) if erase is None else by_erase(erase, victim, clean, context)
    )
    figures = {"victim_asr": round(before.asr, 4), "victim_acc": round(before.acc, 4), "clean_images": len(clean)}
    reset_peak()
    started = time.perf_counter()
    try:
        model = work()
    except (TrainingDiverged, EraseDiverged) as error:
        return {**figures, "error": str(error)}
    seconds, peak = time.perf_counter() - started, peak_megabytes()
    after = evaluate(model, scenario.test, device=device)
    return {
        **figures,
        "asr": round(after.asr, 4),
        "acc": round(after.acc, 4),
        "seconds": round(seconds, 1),
        "peak_megabytes": peak,
    }


def erase_of(arguments: Arguments, layers: tuple[str, ...]) -> EraseConfig | None:
    """The erase of a row, None for a defence of DEFENCES.  layers: the model's distillation layers."""
    if arguments.defence not in NAMES:
        raise unknown_name("row", arguments.defence, NAMES)
    if (arguments.defence == SETTING) != (arguments.setting is not None):
        raise SystemExit(f"--setting and --defence {SETTING} go together; give both, or neither")
    if arguments.setting is not None:
        return Point.of({"clean_fraction": arguments.clean_fraction, **json.loads(arguments.setting)}).erase
    preset = ERASES.get(arguments.defence)
    return preset if preset is None or not preset.layers else on_layers(preset, layers)


def by_name(name: str, victim: nn.Module, clean: LabelledImages, context: TrainContext) -> Callable[[], nn.Module]:
    """The defence of this name, at its own settings."""
    defence = defences.make(name)
    defence.require_fit(victim)
    return lambda: (
        defence.defend(victim, clean, flip=context.flip, generator=context.generator, precision=context.precision).model
    )


def by_erase(
    erase: EraseConfig, victim: nn.Module, clean: LabelledImages, context: TrainContext
) -> Callable[[], nn.Module]:
    """An erase, its teacher included."""

    def work() -> nn.Module:
        student, teacher = copy.deepcopy(victim), copy.deepcopy(victim)
        if erase.weights:
            make_teacher(teacher, clean, context)
        distil(student, teacher if erase.weights else None, clean, erase, context)
        return student.eval()

    return work


def reset_peak() -> None:
    """Let the most memory count from now (Linux; GPU memory likewise)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_megabytes() -> int:
    """The most memory since `reset_peak`: the process's, with a GPU the GPU's."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() // 10**6)
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1000


if __name__ == "__main__":
    main(tyro.cli(Arguments))

"""Overhead and memory of a study over many trials: `python -m benchmarks.many_trials`.

A real study (Ray Tune, Optuna's SQLite storage, sampler, files of a running study) of trials without an erase. Overhead
of a trial: seconds from asked to told, less its worker's computing; medians of a hundred trials. The last hundred are
compared with the first hundred, and with the first hundred of a second study right afterwards: a machine's speed
changes within minutes. Memory: growth of the driver's own from the hundredth trial on. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import tyro
from optuna.trial import TrialState
from rich.console import Console

from benchmarks.memory import held_megabytes
from reports.analysis.frontier import Bound
from reports.analysis.objectives import OBJECTIVES
from search_spaces import Domain
from search_spaces.base import Point
from study.display.progress import Display
from study.engine import session
from study.engine.tune import Report
from study.options.config import StudyConfig
from study.record import exports
from study.record.files import StudyFiles
from study.record.folder import StudyFolder
from study.record.storage import open_study
from study.stages.baselines import BaselineResults
from study.stages.confirmation_results import Counts, Reader
from study.stages.draws import Draws
from study.stages.trials import TrialStage

VICTIM = {"asr": 1.0, "acc": 0.8}
WINDOW = 100


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Overhead and memory of a study over many trials."""

    trials: int = 1000
    sampler: str = "tpe"
    workers: int = 2


def score_at_once(config: Mapping[str, Any], _payload: Any, report: Report) -> None:
    """A trial without an erase: larger betas lower both scores; the noise is as large as in real trials."""
    started = time.perf_counter()
    erase = Point.of(config["setting"]).erase
    strength = min(1.0, erase.lr * sum(erase.betas) / 600)
    luck, skill = np.random.default_rng(config["number"]).uniform(0.7, 1.0, 2)
    acc = float((0.8 - strength**2 / 2) * skill)
    scores = {"asr": float((1 - strength) * luck), "recovery_acc": strength}
    scores |= dict.fromkeys(("acc", "balanced_acc", "acc_non_target"), acc)
    for epoch in range(1, 3):
        report({"epoch": epoch, "asr": scores["asr"], "acc": scores["acc"]})
    report({"final": True, **scores, "compute_seconds": time.perf_counter() - started})


class NoDraws(Draws):
    """Without images: these trials erase nothing."""

    def __init__(self) -> None:
        nothing = cast("Any", None)
        super().__init__(nothing, nothing, 0.05, nothing)

    def shared(self, trial: str, setting: Mapping[str, Any], draw: int) -> dict[str, Any]:
        """Nothing."""
        return {}


def main(arguments: Arguments) -> None:
    """Run both studies, and print their overheads."""
    os.umask(0o077)
    with tempfile.TemporaryDirectory() as folder:
        config = StudyConfig.of(
            sampler=arguments.sampler, trials=arguments.trials, workers=arguments.workers, output=Path(folder)
        )
        long = measure(config)
        after = measure(config.changed(name="after", trials=WINDOW + config.engine.slots))
    result = {
        **long,
        "first_after": after["first"],
        "ratio": round(long["last"] / long["first"], 2),
        "ratio_after": round(long["last"] / after["first"], 2),
    }
    print(
        f"overhead of a trial: {result['first']} s at first, {result['last']} s at last, and {result['first_after']} s"
        f" in the first hundred of a study right afterwards: ratios {result['ratio']} and {result['ratio_after']};"
        f" {result['wall']} s of wall time a trial; the driver grew by {result['growth_megabytes']} MB"
    )
    print(json.dumps(result))


def measure(config: StudyConfig) -> dict[str, Any]:
    """Overheads and memory of one study of trials without an erase."""
    config.directory.mkdir()
    folder = StudyFolder(config.directory)
    directions = [goal.direction for goal in OBJECTIVES]
    study = open_study(folder.storage_url, folder.name, config.search.sampler, config.search.seed, directions)
    held: list[tuple[int, float]] = []
    bound = Bound(config.search.max_acc_drop, VICTIM["acc"], VICTIM["acc"])
    nothing = Reader({}, Counts(asr=1, acc=1))

    def read() -> dict[str, Any]:
        found = exports.results(study, VICTIM, bound, nothing, BaselineResults([], []))
        held.append((found["trials"]["complete"], held_megabytes()["own"]))
        return found

    files, started = StudyFiles(folder, study, bound, read), time.monotonic()
    with session.ray_session(cpus=config.engine.cpus):
        domain = Domain(config.layers, config.search.fractions, dict.fromkeys(config.layers, 1.0))
        stage = TrialStage(config, study, NoDraws(), domain, bound, Display(Console(stderr=True)))
        stage.run((), files, lambda _event: None, score_at_once)
        files.write()
    wall = time.monotonic() - started
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    seconds = [
        trial.duration.total_seconds() - trial.user_attrs["compute_seconds"]
        for trial in complete
        if trial.duration is not None
    ]
    early, late = median(seconds[config.engine.slots : config.engine.slots + WINDOW]), median(seconds[-WINDOW:])
    before = next(megabytes for trials, megabytes in held if trials >= WINDOW)
    return {
        "trials": len(complete),
        "sampler": config.search.sampler,
        "first": round(early, 3),
        "last": round(late, 3),
        "wall": round(wall / len(complete), 3),
        "growth_megabytes": round(held[-1][1] - before),
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))

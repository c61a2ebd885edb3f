"""A table of random settings by draws, for `benchmarks.policies`; real erases of the embedded data's victim."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd
import torch
from rich.console import Console

import search_spaces
from benchmarks.subject import Subject
from nad import models
from nad.data import fingerprint
from nad.feature_scale import feature_rms
from nad.scenario import Scenario
from nad.victim import Victim
from search_spaces import Control, Domain
from study.display.progress import Display
from study.engine import session, tasks
from study.engine.erase_task import Workload
from study.options.config import StudyConfig
from study.record.folder import cache_folder
from study.stages.confirmation import ConfirmationRun, run_once
from study.stages.preparation import Preparation
from study.stages.sequence import MEASURED
from study.stages.teachers import with_teachers
from study.stages.workload import for_draw, make_workload

CLEAN_FRACTION = 0.05


@dataclass(frozen=True, kw_only=True)
class Recording(Subject):
    """The table to record."""

    settings_recorded: int = 120
    """The controls, then random settings of the default space."""
    draws_recorded: int = 8


def record(path: Path, recording: Recording) -> None:
    """Do the erases missing in the table, draw by draw; each adds its row as it ends.

    A diverged erase counts as an ASR of 1 and an ACC of 0.
    """
    config = recording.settings((CLEAN_FRACTION,))
    known = pd.read_csv(path) if path.exists() else pd.DataFrame({"setting": [], "draw": []})
    done = set(zip(known["setting"], known["draw"], strict=True))
    display = Display(Console(stderr=True))
    with _workloads(config, recording.draws_recorded, display) as (scenario, victim, workloads):
        domain = Domain(config.layers, config.search.fractions, _rms(config, scenario, victim))
        points = random_settings(domain, recording.settings_recorded)
        todo = [(one, draw) for draw in workloads for one in range(len(points)) if (one, draw) not in done]
        path.parent.mkdir(parents=True, exist_ok=True)

        def keep(index: int, scores: dict[str, object]) -> None:
            one, draw = todo[index]
            lost = {"asr": 1.0, "acc": 0.0, "compute_seconds": 0.0}
            found = {name: lost[name] if "error" in scores else scores[name] for name in lost}
            row = {"setting": one, "draw": draw, "control": points[one].name, **found}
            pd.DataFrame([row]).to_csv(path, mode="a", header=not path.exists(), index=False)

        runs = [ConfirmationRun(points[one].point, draw).argument for one, draw in todo]
        tasks.run_tasks(run_once, runs, payload=workloads, on_done=keep)


def random_settings(domain: Domain, count: int, seed: int = 0) -> list[Control]:
    """The controls, and random settings of the default space without a name; the first are the same for any count."""
    space = search_spaces.get("nad")
    found = list(space.controls(domain))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    while len(found) < count:
        found.append(Control("", space.suggest(study.ask(), domain)))
    return found[:count]


@contextmanager
def _workloads(
    config: StudyConfig, draws: int, display: Display
) -> Iterator[tuple[Scenario, Victim, dict[int, Workload]]]:
    """Scenario, victim, and the workload of each draw with its teacher, scored on validation images."""
    preparation = Preparation(config, cache_folder(None), display)
    scenario = preparation.prepare_attack(preparation.load_scenario(), config.recipe)
    victim = preparation.prepare_victim(scenario, config.recipe)
    block = make_workload(config, scenario, victim, scenario.validation)
    blocks = {draw: for_draw(block, scenario, CLEAN_FRACTION, draw) for draw in range(draws)}
    with session.ray_session(cpus=config.engine.cpus):
        teachers = [(draw, CLEAN_FRACTION) for draw in blocks]
        yield scenario, victim, with_teachers(blocks, teachers, fingerprint(scenario.dataset), preparation)


def _rms(config: StudyConfig, scenario: Scenario, victim: Victim) -> dict[str, float]:
    """Scale of the victim's features, as a study measures it."""
    network = models.with_weights(config.victim.architecture, scenario.dataset.classes, victim.state)
    images = scenario.validation.subset(MEASURED).clean.images
    return feature_rms(network, images, config.layers, device=torch.device("cpu"))

"""Other defences beside NAD, as controls of a study: same holdouts and evaluation sets, one run at each fraction.

They are no trials: they have none of the space's parameters, and the sampler must not learn from them. As in the
confirmation, one attribute of the study for each run is the record, so that none is made twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
import torch

from nad import defences, models
from nad.errors import TrainingDiverged
from nad.evaluation import evaluate
from nad.progress import Progress
from nad.seeds import generator
from study.display.progress import Display
from study.engine import tasks
from study.engine.erase_task import Workload
from study.engine.tasks import granted_device
from study.options.config import StudyConfig
from study.stages.confirmation import NOTHING, Counts, missing, summarise

FAILED = "failed"
"""Key of a run's result that is none."""


class Run(NamedTuple):
    """One defence by one defender.

    draw: which; 0 is the study's own, scored on the validation images, the others are those of the confirmation, scored
    on the test images.
    """

    name: str
    clean_fraction: float
    draw: int

    @property
    def key(self) -> str:
        """Its attribute in the study's record."""
        return f"{_prefix(self.name, self.clean_fraction)}{self.draw}"


def _prefix(name: str, clean_fraction: float) -> str:
    """What the keys of all runs of these settings begin with."""
    settings = json.dumps([defences.describe(defences.make(name)), clean_fraction], sort_keys=True)
    return f"baseline {hashlib.sha256(settings.encode()).hexdigest()[:16]} "


def plan(names: Iterable[str], clean_fractions: Sequence[float], draws: Iterable[int]) -> list[Run]:
    """Every run of these defences, those with most images first: a long task that starts last keeps others waiting."""
    distinct, descending = dict.fromkeys(names), sorted(clean_fractions, reverse=True)
    return [Run(name, fraction, draw) for draw in draws for fraction in descending for name in distinct]


def planned(config: StudyConfig, draws: Iterable[int]) -> list[Run]:
    """The runs that a study's command asks for."""
    return plan(config.baselines, config.baseline_fractions or config.fractions, draws)


def finished(study: optuna.Study, runs: Iterable[Run]) -> list[Run]:
    """Those of the runs that have scores in the record."""
    recorded = study.user_attrs
    return [run for run in runs if "error" not in recorded.get(run.key, {"error": ""})]


def require_fit(names: Iterable[str], model: str, classes: int) -> None:
    """Raise ConfigError for a defence that cannot work on this architecture: here, not after all trials."""
    for name in names:
        defences.make(name).require_fit(models.make(model, classes))


def make(
    config: StudyConfig,
    study: optuna.Study,
    stage: str,
    wanted: Sequence[Run],
    workloads: Mapping[int, Workload],
    display: Display,
    on_run: Callable[[], object],
) -> None:
    """Make those of the wanted runs that are missing, in parallel; each is recorded as it ends, and on_run called.

    workloads: of each draw, with its own holdout and evaluation set; no teachers are needed.
    """
    runs = missing(study, wanted)
    if not runs:
        return
    with display.stage(stage, "runs") as step:
        done = len(wanted) - len(runs)
        step(done, len(wanted))

        def keep(index: int, result: Mapping[str, Any]) -> None:
            nonlocal done
            run = runs[index]
            if FAILED in result:
                display.say(
                    f"the baseline {run.name} at {run.clean_fraction:.4g} clean data, draw {run.draw}, failed:"
                    f" {result[FAILED]}; mend it and run the same command again"
                )
                return
            study.set_user_attr(run.key, dict(result))
            done += 1
            step(done, len(wanted))
            on_run()

        tasks.run_tasks(
            run_once,
            [tuple(run) for run in runs],
            payload=dict(workloads),
            cpus=config.cpus_per_trial,
            gpus=config.gpus_per_trial,
            on_done=keep,
            on_progress=lambda running: step(done, len(wanted), running),
        )


def search(
    config: StudyConfig, study: optuna.Study, workload: Workload, display: Display, on_run: Callable[[], object]
) -> None:
    """The runs by the study's own defender, on the workload that its trials ran on."""
    wanted = planned(config, (workload.draw,))
    make(config, study, "baselines", wanted, {workload.draw: workload}, display, on_run)


def progress(config: StudyConfig, study: optuna.Study) -> dict[str, int] | None:
    """`baselines` as summary.json has it; None where none was asked for.

    What diverged is done; what failed otherwise is made again by the next command.
    """
    wanted = planned(config, (0,))
    return {"runs": len(wanted), "done": len(wanted) - len(missing(study, wanted))} if wanted else None


def run_once(
    argument: tuple[str, float, int], workloads: Mapping[int, Workload], progress: Progress | None = None
) -> dict[str, Any]:
    """One run in its worker: scores, `deeds` and `compute_seconds`.

    A defence that diverges is a result, not a mistake: it returns {"error": why}. Any other failure is not kept, and
    ends neither the other runs nor the study: it returns {FAILED: why}.
    """
    name, clean_fraction, draw = argument
    workload = workloads[draw]
    started = time.perf_counter()
    torch.set_num_threads(workload.threads)
    device = torch.device(granted_device())
    try:
        defended = defences.make(name).defend(
            workload.network(workload.victim, device),
            workload.holdout(clean_fraction),
            flip=workload.flip,
            generator=generator(workload.seed, "baseline", draw),
            device=device,
            progress=progress,
            precision=workload.precision,
        )
    except TrainingDiverged as error:
        return {"error": str(error)}
    except Exception as error:  # a defence of somebody's own may raise anything
        return {FAILED: f"{type(error).__name__}: {error}"}
    scores = evaluate(defended.model, workload.eval_set(), device=device)._asdict()
    return {**scores, "deeds": dict(defended.stats), "compute_seconds": time.perf_counter() - started}


class Standing(NamedTuple):
    """What a study's record says of its baselines, as summary.json has it."""

    controls: list[dict[str, Any]]
    lost: list[dict[str, Any]]
    """Those without scores, because they diverged."""


def standing(recorded: Mapping[str, Any], clean_fractions: Sequence[float], counts: Counts) -> Standing:
    """Each defence at each clean fraction that was run, whatever this command asked for.

    recorded: the study's attributes.
    """
    found = Standing([], [])
    for name in defences.DEFENCES:
        for fraction in sorted(clean_fractions):
            prefix = _prefix(name, fraction)
            runs = {int(key.removeprefix(prefix)): run for key, run in recorded.items() if key.startswith(prefix)}
            searched = runs.pop(0, None)
            if searched is None:
                continue
            if "error" in searched:
                found.lost.append({"name": name, "clean_fraction": fraction, "error": searched["error"]})
                continue
            found.controls.append(
                {
                    "name": name,
                    "number": None,
                    "params": {"clean_fraction": fraction},
                    "validation": {score: searched.get(score) for score in ("acc", "balanced_acc", "asr")},
                    **NOTHING,
                    **({"test": summarise(runs, counts)} if runs else {}),
                    "settings": defences.describe(defences.make(name)),
                    "deeds": searched["deeds"],
                    "compute_seconds": searched["compute_seconds"],
                }
            )
    return found

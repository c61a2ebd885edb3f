"""Other defences beside NAD, as a study's controls: same holdouts and images, one run at each wanted fraction.

They are no trials: they lack the space's parameters, and the sampler must not learn from them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
import torch

from nad import defences, models
from nad.errors import TrainingDiverged
from nad.evaluation import evaluate
from nad.progress import Progress
from nad.seeds import generator
from study.engine.erase_task import Workload
from study.engine.tasks import granted_device
from study.options.search import SearchOptions
from study.stages.confirmation_results import NOTHING, Counts, summarise
from study.stages.repeats import FAILED, by_draw, key_prefix, missing


class BaselineRun(NamedTuple):
    """One defence by one defender.

    draw: 0 is scored on the validation images; the others, from the confirmation, on the test images.
    """

    name: str
    clean_fraction: float
    draw: int

    @property
    def key(self) -> str:
        """Its attribute of the study."""
        return f"{_prefix(self.name, self.clean_fraction)}{self.draw}"

    @property
    def argument(self) -> tuple[str, float, int]:
        """Its argument as a task."""
        return self.name, self.clean_fraction, self.draw

    def __str__(self) -> str:
        return f"the baseline {self.name} at {self.clean_fraction:.4g} clean data, draw {self.draw},"


def _prefix(name: str, clean_fraction: float) -> str:
    return key_prefix("baseline", [defences.describe(defences.make(name)), clean_fraction])


def plan(names: Iterable[str], clean_fractions: Sequence[float], draws: Iterable[int]) -> list[BaselineRun]:
    """Every run of these defences, most images first: a long task at the end keeps others waiting."""
    distinct, descending = dict.fromkeys(names), sorted(clean_fractions, reverse=True)
    return [BaselineRun(name, fraction, draw) for draw in draws for fraction in descending for name in distinct]


def planned(search: SearchOptions, draws: Iterable[int]) -> list[BaselineRun]:
    """The baseline runs of a study."""
    return plan(search.baselines, search.baseline_fractions or search.fractions, draws)


def finished(study: optuna.Study, runs: Iterable[BaselineRun]) -> list[BaselineRun]:
    """The runs with scores in the record."""
    recorded = study.user_attrs
    return [run for run in runs if "error" not in recorded.get(run.key, {"error": ""})]


def require_fit(names: Iterable[str], model: str, classes: int) -> None:
    """Raise ConfigError for a defence unfit for this architecture: before the trials, not after them."""
    for name in names:
        defences.make(name).require_fit(models.make(model, classes))


def count_runs(search: SearchOptions, study: optuna.Study) -> dict[str, int] | None:
    """`baselines` in summary.json; None without any.

    Diverged runs are done; runs that failed otherwise are tried again by the next command.
    """
    wanted = planned(search, (0,))
    return {"runs": len(wanted), "done": len(wanted) - len(missing(study, wanted))} if wanted else None


def run_once(
    argument: tuple[str, float, int], workloads: Mapping[int, Workload], progress: Progress | None = None
) -> dict[str, Any]:
    """One run in its worker: scores, `deeds` and `compute_seconds`.

    A diverged defence returns {"error": why}, a result. Any other failure returns {FAILED: why}: it is not recorded,
    and ends neither the other runs nor the study.
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
    except Exception as error:  # a user's own defence may raise anything
        return {FAILED: f"{type(error).__name__}: {error}"}
    scores = evaluate(defended.model, workload.eval_set(), device=device)._asdict()
    return {**scores, "deeds": dict(defended.stats), "compute_seconds": time.perf_counter() - started}


class BaselineResults(NamedTuple):
    """Recorded results of a study's baselines, in the layout of summary.json."""

    controls: list[dict[str, Any]]
    lost: list[dict[str, Any]]
    """Diverged ones, without scores."""


def baseline_results(recorded: Mapping[str, Any], clean_fractions: Sequence[float], counts: Counts) -> BaselineResults:
    """Each recorded defence at each clean fraction, asked for by this command or not.

    recorded: the study's attributes.
    """
    found = BaselineResults([], [])
    for name in defences.DEFENCES:
        for fraction in sorted(clean_fractions):
            runs = by_draw(recorded, _prefix(name, fraction))
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

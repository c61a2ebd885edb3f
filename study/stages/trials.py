"""The trials of a study: which settings come first, what the sampler is told, when it is enough, and what is shown."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

import search_spaces
from nad.errors import NadError
from reports.analysis.frontier import Bound
from reports.analysis.objectives import OBJECTIVES
from reports.formatting import duration
from search_spaces import Control
from study.display.progress import Display, TrialBoard
from study.engine import tune
from study.engine.erase_task import Workload, describe_point, run_trial
from study.engine.tune import TrialFunction
from study.options.config import StudyConfig
from study.record import exports
from study.record.files import StudyFiles
from study.search.queue import enqueue
from study.search.searcher import OptunaSearcher
from study.search.trial_event import TrialEvent
from study.search.warm_start import EarlierPoint
from study.stages.pruning import pruner

ACC_DROP = "acc_drop"
"""Optuna's name of the constraint: accuracy lost beyond --max-acc-drop, positive where it is too much."""

BALANCED_ACC_DROP = "balanced_acc_drop"
"""The same of balanced accuracy, positive as well for a model that only guesses."""


def search(
    config: StudyConfig,
    study: optuna.Study,
    workload: Workload,
    bound: Bound,
    earlier: Sequence[EarlierPoint],
    display: Display,
    files: StudyFiles,
    observe: Callable[[TrialEvent], None],
    run_one: TrialFunction = run_trial,
) -> None:
    """Run trials until the wanted number is complete or pruned, the time budget is over, or, where that is asked for,
    the front has stopped growing; keep the files up to date.

    The sampler is told of --max-acc-drop: an erase that ruins the classifier is on the front, but teaches little.
    """
    space = search_spaces.get(config.space)
    domain = config.domain
    _enqueue_known(study, space.controls(domain), earlier)
    if said := other_bounds(study, bound.acc, bound.max_drop):
        display.say(said)
    budget = config.budget_seconds
    board = TrialBoard.of(study)
    with display.stage("trials", "done", lambda: str(board)) as step:

        def on_event(event: TrialEvent) -> None:
            board.on_event(event)
            observe(event)
            step(board.done, config.trials)
            if event.kind not in ("started", "progress"):
                # A full disk ends the study when the next trial is recorded; these files are only its shadow.
                with suppress(NadError):
                    files.refresh()

        step(board.done, config.trials)
        searcher = OptunaSearcher(
            study,
            lambda trial: describe_point(space.suggest(trial, domain)),
            tuple(goal.name for goal in OBJECTIVES),
            config.trials,
            seed=config.seed,
            constraints=partial(constraints, bound),
            enough=(lambda: exports.converged(study) is not None) if config.until_converged else None,
            pruner=pruner(config, workload) if config.prune else None,
            deadline=None if budget is None else time.monotonic() + budget,
            on_event=on_event,
        )
        tune.run_trials(
            run_one,
            searcher,
            payload=workload,
            slots=config.slots,
            cpus_per_trial=config.cpus_per_trial,
            gpus_per_trial=config.gpus_per_trial,
            trial_timeout=config.trial_seconds,
            on_interrupt=lambda: display.say(_last_words(study)),
        )
    if config.until_converged and (why := exports.stopped(study, config.trials)):
        display.say(why)


def constraints(bound: Bound, scores: Mapping[str, Any]) -> dict[str, float]:
    """What the sampler is told of a complete trial's accuracies: each by name, met at zero or less."""
    acc, balanced_acc = (np.array([scores.get(name, math.nan)], dtype=float) for name in ("acc", "balanced_acc"))
    (over,), (balanced_over,) = bound.excess(acc, balanced_acc)
    return {ACC_DROP: float(over), BALANCED_ACC_DROP: float(balanced_over)}


def _enqueue_known(study: optuna.Study, controls: Iterable[Control], earlier: Iterable[EarlierPoint]) -> None:
    """The settings that are asked before the sampler's: the controls, and those of earlier studies."""
    for name, params in controls:
        enqueue(study, params, {"control": name})
    for point in earlier:
        enqueue(study, point.params, {"warm_start": point.study})


def other_bounds(study: optuna.Study, victim_acc: float, max_acc_drop: float) -> str | None:
    """A sentence where earlier trials were recorded under another --max-acc-drop: Optuna keeps a constraint as it was
    when its trial ended."""
    acc = [goal.name for goal in OBJECTIVES].index("acc")
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    known = [trial for trial in complete if ACC_DROP in trial.constraints]
    bounds = [victim_acc - trial.values[acc] - trial.constraints[ACC_DROP] for trial in known]
    others = [bound for bound in bounds if not math.isclose(bound, max_acc_drop, abs_tol=1e-9)]
    if not others:
        return None
    return (
        f"{len(others)} of {len(bounds)} complete trials were run with another --max-acc-drop, and the sampler goes on"
        f" weighing those by it; what is recommended and reported goes by {max_acc_drop:g}"
    )


def _last_words(study: optuna.Study) -> str:
    """After the first Ctrl-C: what is waited for, and for how long at most if trials take as long as they did."""
    running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    longest = max((trial.user_attrs.get("seconds", 0.0) for trial in complete), default=0.0)
    wait = f" (about {duration(longest)} at most)" if longest else ""
    trials = f"{running} running trial" + ("s" if running != 1 else "")
    return f"no further trial starts; finishing {trials}{wait}; once more stops at once"

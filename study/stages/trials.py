"""The trials of a study: queued settings, the sampler's constraints, the end, the display."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
"""Optuna's name of the constraint: accuracy lost beyond --max-acc-drop; positive is too much."""

BALANCED_ACC_DROP = "balanced_acc_drop"
"""The same of balanced accuracy; positive for a guessing model, too."""


@dataclass(frozen=True)
class TrialStage:
    """Runs the trials of a study."""

    config: StudyConfig
    study: optuna.Study
    workload: Workload
    bound: Bound
    display: Display

    def run(
        self,
        earlier: Sequence[EarlierPoint],
        files: StudyFiles,
        observe: Callable[[TrialEvent], None],
        run_one: TrialFunction = run_trial,
    ) -> None:
        """Run trials up to the wanted number, the end of the time budget, or convergence; keep the files up to date."""
        options, engine, study, display = self.config.search, self.config.engine, self.study, self.display
        _enqueue_known(study, search_spaces.get(options.space).controls(self.config.domain), earlier)
        if warning := other_bounds(study, self.bound.acc, self.bound.max_drop):
            display.say(warning)
        board = TrialBoard.of(study)
        with display.stage("trials", "done", lambda: str(board)) as step:

            def on_event(event: TrialEvent) -> None:
                board.on_event(event)
                observe(event)
                step(board.done, options.trials)
                if event.kind not in ("started", "progress"):
                    # A full disk ends the study at the next trial's record; these files are mere copies.
                    with suppress(NadError):
                        files.refresh()

            step(board.done, options.trials)
            tune.run_trials(
                run_one,
                self._searcher(on_event),
                payload=self.workload,
                slots=engine.slots,
                cpus_per_trial=engine.cpus_per_trial,
                gpus_per_trial=engine.gpus_per_trial,
                trial_timeout=options.trial_seconds,
                on_interrupt=lambda: display.say(_last_words(study)),
            )
        if options.until_converged and (why := exports.stopped(study, options.trials)):
            display.say(why)

    def _searcher(self, on_event: Callable[[TrialEvent], None]) -> OptunaSearcher:
        """The study's sampler as a searcher, with --max-acc-drop as its constraint.

        Without the constraint, it would also search the end of the front with ruined classifiers.
        """
        options, study, domain = self.config.search, self.study, self.config.domain
        space, budget = search_spaces.get(options.space), options.budget_seconds
        return OptunaSearcher(
            study,
            lambda trial: describe_point(space.suggest(trial, domain)),
            tuple(goal.name for goal in OBJECTIVES),
            options.trials,
            seed=options.seed,
            constraints=partial(constraints, self.bound),
            enough=(lambda: exports.converged(study) is not None) if options.until_converged else None,
            pruner=pruner(self.config.point_at, self.workload) if options.prune else None,
            deadline=None if budget is None else time.monotonic() + budget,
            on_event=on_event,
        )


def constraints(bound: Bound, scores: Mapping[str, Any]) -> dict[str, float]:
    """A complete trial's constraints for the sampler, by name; met at zero or less."""
    acc, balanced_acc = (np.array([scores.get(name, math.nan)], dtype=float) for name in ("acc", "balanced_acc"))
    (over,), (balanced_over,) = bound.excess(acc, balanced_acc)
    return {ACC_DROP: float(over), BALANCED_ACC_DROP: float(balanced_over)}


def _enqueue_known(study: optuna.Study, controls: Iterable[Control], earlier: Iterable[EarlierPoint]) -> None:
    """Queue the controls and the settings of earlier studies before the sampler's."""
    for name, params in controls:
        enqueue(study, params, {"control": name})
    for point in earlier:
        enqueue(study, point.params, {"warm_start": point.study})


def other_bounds(study: optuna.Study, victim_acc: float, max_acc_drop: float) -> str | None:
    """A warning about trials recorded under another --max-acc-drop; Optuna keeps their old constraints."""
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
    """The sentence after the first Ctrl-C: running trials, and the longest wait by earlier durations."""
    running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    longest = max((trial.user_attrs.get("seconds", 0.0) for trial in complete), default=0.0)
    wait = f" (about {duration(longest)} at most)" if longest else ""
    trials = f"{running} running trial" + ("s" if running != 1 else "")
    return f"no further trial starts; finishing {trials}{wait}; once more stops at once"

"""Optuna behind a searcher's interface; Optuna's storage is the only record of a study.

A trial is RUNNING from `suggest` until `on_trial_complete`, and ends in one of three states:

COMPLETE  it reported `final` with a finite value for every metric
PRUNED    the pruner objected to its scores so far, or it reported `pruned` itself; attribute `error` has the reason
FAIL      anything else; attribute `error` has the reason

A trial's other reported values become user attributes, written before the state: Optuna freezes finished trials.
Earlier reports are the attribute `curve`, one entry each, numbers only.
Nothing is left RUNNING: `close`, or the next start after a crash, fails such trials and asks their points again.

A trial is one erase of one setting on one draw. Before each new setting, the allocation rule may ask for another draw
of an earlier one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState

from nad.errors import NadError
from reports.analysis.frontier import Bound
from study.search import times
from study.search.lost_trial import LostTrial
from study.search.queue import ask_again, asked_with, enqueue, repair
from study.search.samplers import SettingSampler
from study.search.settings import DRAW, SETTING, SettingTable, setting_of
from study.search.trial_event import EventKind, TrialEvent
from study.search.verdict import is_last, numbers, storable, verdict

Space = Callable[[optuna.Trial], dict[str, Any]]
"""A trial's setting, by name."""
Allocation = Callable[[SettingTable, int], int | None]
"""From the settings so far and the number of trials left: the setting to run again, or None for a new one."""


class Shown(NamedTuple):
    """A trial's reports so far."""

    setting: Mapping[str, Any]
    curve: Sequence[Mapping[str, float]]
    """Its reports before the last one."""
    complete: bool
    """False for a running or pruned trial."""


Pruner = Callable[[Shown, Sequence[Shown]], str]
"""From a running trial and all others, by number: a sentence why it should stop, or empty."""

log = logging.getLogger(__name__)


def trial_seed(study_seed: int, draw: int) -> int:
    """A trial's seed, in [0, 2**32), from the study's seed and the draw alone.

    Settings are so compared under common random numbers, and equal ones score the same in all studies of this seed.
    study_seed: not negative.
    """
    return int(np.random.SeedSequence([study_seed, draw]).generate_state(1)[0])


@dataclass
class _Running:
    trial: optuna.Trial
    setting: Mapping[str, Any]
    draw: int
    spared: bool
    """True if it is never pruned: it was queued by name, or repeats a setting."""
    curve: list[dict[str, float]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    asked: float = field(default_factory=time.monotonic)


class OptunaSearcher:
    """Asks a study's points and records their results, during one run of the study.

    study: its RUNNING trials are repaired first.
    space: suggests one trial's parameters.
    metrics: names of the objectives in trials' reports, in the order of the study's directions.
    bound: the sampler prefers settings inside it; the record keeps all.
    allocation: asked when nothing is queued; a setting is run again on its next free draw. Default: never.
    pruner: asked after every report of a trial proposed by the sampler. Queued points and repeats are never pruned.
    wanted: number of trials, COMPLETE or PRUNED, for the study in the end, earlier runs' included; failed ones are
        replaced.
    enough: true if more trials would add little; asked after each complete trial. No trial starts while it holds; a
        running one may end that.
    deadline: on time.monotonic's clock; no trial starts after it, running ones finish and count.
    max_failures: limit of failures in a row, in this run; at the limit no trial starts, see `raise_if_failing`.
    on_event: called in the driver's thread; its errors are logged and change nothing.
    """

    def __init__(
        self,
        study: optuna.study.Study,
        space: Space,
        metrics: tuple[str, ...],
        wanted: int,
        *,
        seed: int,
        bound: Bound | None = None,
        allocation: Allocation = lambda _table, _left: None,
        enough: Callable[[], bool] | None = None,
        pruner: Pruner | None = None,
        deadline: float | None = None,
        max_failures: int = 10,
        on_event: Callable[[TrialEvent], None] | None = None,
    ) -> None:
        repair(study)
        self._study, self._space, self._metrics, self._wanted = study, space, metrics, wanted
        self._seed, self._deadline, self._max_failures = seed, deadline, max_failures
        self._allocation, self._pruner, self._on_event = allocation, pruner, on_event
        self._enough = enough or (lambda: False)
        self._running: dict[str, _Running] = {}
        self._asked: set[int] = set()
        self.settings = SettingTable(study.get_trials(deepcopy=False))
        study.sampler = SettingSampler(study.sampler, self.settings, bound)
        self._complete = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        self._has_enough = self._enough()
        self._pruned = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
        self._failures, self._last_error = 0, ""

    @property
    def finished(self) -> bool:
        """True if no further trial will be asked; running ones may still report."""
        if self._held >= self._wanted:
            return True
        if (self._has_enough or self._fails) and not self._running:
            return True
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def _fails(self) -> bool:
        """True at the limit of failures; a running trial's success may end that."""
        return self._failures >= self._max_failures

    @property
    def _held(self) -> int:
        """Trials counting towards the wanted number."""
        return self._complete + self._pruned

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial's config, or None while the running trials may complete the wanted number.

        Returns {"setting": from the space, "draw", "seed", "number"}.
        """
        left = self._wanted - self._held - len(self._running)
        if self.finished or self._has_enough or self._fails or left <= 0:
            return None
        if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._queue_repeat(left)
        trial = self._study.ask()
        self._asked.add(trial.number)
        asked = asked_with(self._study, trial)
        try:
            setting = asked[SETTING] if SETTING in asked else self._space(trial)
        except Exception as error:
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            self._study.tell(trial, state=TrialState.FAIL)
            raise
        running = self._running[trial_id] = self._start(trial, setting, asked)
        self._tell_of("started", running)
        seed = trial_seed(self._seed, running.draw)
        return {"setting": setting, "draw": running.draw, "seed": seed, "number": trial.number}

    def _queue_repeat(self, left: int) -> None:
        """Queue the setting that the allocation rule wants again, if any, in the record: a killed driver loses none."""
        setting = self._allocation(self.settings, left)
        if setting is not None:
            first = self.settings.first[setting]
            asked = {} if first.params else {SETTING: setting_of(first)}
            enqueue(self._study, first.params, {**asked, DRAW: self.settings.next_draw(setting)})

    def _start(self, trial: optuna.Trial, setting: Mapping[str, Any], asked: Mapping[str, Any]) -> _Running:
        _number, draw = self.settings.begin(trial.number, setting, asked.get(DRAW))
        found = {SETTING: dict(setting), DRAW: draw, "seed": trial_seed(self._seed, draw)}
        for name, value in found.items():
            trial.set_user_attr(name, value)
        trial.set_user_attr(times.STARTED, datetime.now(UTC).isoformat(timespec="seconds"))
        return _Running(trial, setting, draw, spared=draw > 0 or bool(asked))

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Keep a running trial's report; returns true to stop it as PRUNED.

        Reports after a final one are ignored.
        """
        running = self._running[trial_id]
        if running.last.get("final"):
            return False
        if is_last(result):
            running.last = dict(result)
            return False
        scores = numbers(result)
        running.curve.append(scores)
        self._tell_of("progress", running, scores)
        if reason := self._objection(running):
            running.last = {"pruned": reason, **{name: result[name] for name in result if name not in scores}}
        return bool(reason)

    def _objection(self, running: _Running) -> str:
        """Why a trial should stop, or empty, from the record alone: the same after resuming."""
        if self._pruner is None or running.spared:
            return ""
        shown = {
            trial.number: Shown(
                setting_of(trial), trial.user_attrs.get("curve", ()), trial.state is TrialState.COMPLETE
            )
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        }
        for one in self._running.values():
            shown[one.trial.number] = Shown(one.setting, one.curve, complete=False)
        trial = shown.pop(running.trial.number)
        return self._pruner(trial, [shown[number] for number in sorted(shown)])

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, lost: LostTrial | None = None
    ) -> None:
        """Record a trial's end.

        result: its last report, if it was not passed to `on_trial_result`.
        lost: why the engine lost it, such as a killed process.  Without a last report of its own, its point is asked
            again, up to `lost.retries` times.
        """
        running = self._running.pop(trial_id)
        last = running.last or (dict(result) if result and is_last(result) else {})
        state, reason = verdict(last, self._metrics, lost.reason if lost else "")
        attrs = {key: value for key, value in last.items() if key not in (*self._metrics, "final", "pruned", "error")}
        if not last and lost and lost.details:
            attrs["traceback"] = lost.details
        if reason:
            attrs["error"] = reason
        attrs |= {
            "curve": running.curve,
            times.ELAPSED: time.monotonic() - running.asked,
            times.ENDED: datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        for name, value in attrs.items():
            running.trial.set_user_attr(name, storable(value))
        if state is TrialState.COMPLETE:
            self._record_complete(running, last)
        elif state is TrialState.PRUNED:
            self._record_pruned(running)
        else:
            self._record_failed(running, reason, retries=lost.retries if lost and not last else 0)

    def _record_complete(self, running: _Running, last: Mapping[str, Any]) -> None:
        scores = {metric: float(last[metric]) for metric in self._metrics}
        self._study.tell(running.trial, values=list(scores.values()), state=TrialState.COMPLETE)
        self._end(running)
        self._complete += 1
        self._has_enough = self._enough()
        self._failures = 0
        self._tell_of("complete", running, scores)

    def _record_pruned(self, running: _Running) -> None:
        self._study.tell(running.trial, state=TrialState.PRUNED)
        self._end(running)
        self._pruned += 1
        self._failures = 0
        self._tell_of("pruned", running)

    def _record_failed(self, running: _Running, reason: str, *, retries: int) -> None:
        ask_again(self._study, self._study._storage.get_trial(running.trial._trial_id), "retry", retries)
        self._study.tell(running.trial, state=TrialState.FAIL)
        self._end(running)
        self._failures += 1
        self._last_error = f"trial {running.trial.number}: {reason.splitlines()[0]}"
        self._tell_of("failed", running, error=reason)

    def _end(self, running: _Running) -> None:
        self.settings.end(self._study._storage.get_trial(running.trial._trial_id))

    def _tell_of(
        self, kind: EventKind, running: _Running, scores: Mapping[str, Any] | None = None, error: str = ""
    ) -> None:
        if self._on_event is None:
            return
        trial = running.trial
        attrs = {} if kind == "progress" else trial.user_attrs  # a copy, and epochs come often
        try:
            self._on_event(TrialEvent(kind, trial.number, running.setting, scores or {}, error, attrs))
        except Exception:
            log.exception("an observer of the study failed; the study goes on")

    def close(self) -> None:
        """Leave none of this run's trials RUNNING; call it after every run, failed ones included.

        Other RUNNING trials may belong to a driver that has taken over.
        """
        self._running.clear()
        repair(self._study, self._asked)

    def raise_if_failing(self) -> None:
        """Raise NadError if the run ended because trial after trial failed."""
        if self._fails and self._held < self._wanted:
            raise NadError(
                f"the study stopped because {self._failures} trials in a row failed, with {self._held} of "
                f"{self._wanted} done; the last was {self._last_error}; "
                "mend the cause and run the same command again: finished trials are kept"
            )

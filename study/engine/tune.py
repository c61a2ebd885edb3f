"""Trials on Ray Tune: the only file that knows it.

A trial is `function(config, payload, report) -> None`, written without Ray, where `report` takes a dict of scores and
`final: True` marks the last. It travels by reference: it lives in a module that workers can import.
"""

from __future__ import annotations

import gc
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from nad.errors import NadError, TrainingDiverged
from study.engine.code import digest
from study.engine.lifeline import Lifeline, RayLost
from study.engine.printed import Printed
from study.engine.scratch import scratch_folder, temporary_base
from study.engine.tasks import available_slots
from study.search.lost_trial import LostTrial
from study.search.queue import DIVERGED
from study.signals import Interrupted, handled_by

Report = Callable[[Mapping[str, Any]], None]
TrialFunction = Callable[[dict[str, Any], Any, Report], None]

_ABANDONED: list[BaseException] = []
"""Keep Tune's objects of a run whose Ray is lost: as they go, they would wait for it, until Ray ends the process."""
_REPORT = "report"  # what a trial reports travels under this key, apart from what Tune adds


class TrialSource(Protocol):
    """Where trials come from and where their results go: `study.search.searcher.OptunaSearcher`."""

    @property
    def finished(self) -> bool: ...
    def suggest(self, trial_id: str) -> dict[str, Any] | None: ...
    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether the trial is to be stopped; `on_trial_complete` follows."""
        ...

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None, lost: LostTrial | None) -> None: ...
    def close(self) -> None: ...
    def raise_if_failing(self) -> None: ...


def run_trials(
    function: TrialFunction,
    searcher: TrialSource,
    *,
    payload: Any = None,
    slots: int,
    cpus_per_trial: float = 1,
    gpus_per_trial: float = 0.0,
    trial_timeout: float | None = None,
    on_interrupt: Callable[[], object] = lambda: None,
) -> None:
    """Run function(config, payload, report) for every config that the searcher suggests, at most `slots` at a time.

    Worker processes are reused: a trial has to seed what it draws, and to leave no state in modules.  A trial that
    raises fails with its text: a NadError keeps the process, anything else gets a new one.
    trial_timeout: seconds after which a running trial's process is killed; it is asked again once.
    on_interrupt: called after the first Ctrl-C or SIGTERM, from which on no trial starts and the running ones finish; a
        second one stops them at once.
    Raises: ConfigError if no node can hold a trial; what the searcher raised; NadError if too many trials failed;
    RayLost; Interrupted.  The searcher is closed in every case.
    """
    interruption = _Interruption(on_interrupt)
    bridge = _Bridge(searcher, interruption)
    try:
        slots = min(slots, available_slots(cpus_per_trial, gpus_per_trial))
        with scratch_folder(temporary_base()) as scratch, handled_by(interruption.take):
            scheduler = _Scheduler(bridge, interruption, trial_timeout)
            _fit(_trainable(function, payload, cpus_per_trial, gpus_per_trial), bridge, scheduler, slots, scratch)
        if bridge.error is not None:
            raise bridge.error
        if interruption.signal is not None:
            raise Interrupted(interruption.signal)
    except BaseException:
        with suppress(Exception):  # a record that is out of reach cannot be closed either: what came first says why
            searcher.close()
        raise
    searcher.close()
    searcher.raise_if_failing()


def _fit(trainable: Any, bridge: _Bridge, scheduler: _Scheduler, slots: int, scratch: Path) -> None:
    """One fresh Tuner: the record is the searcher's, so Tune has nothing to restore.

    Raises: NadError in place of what Tune raises of itself.
    """
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=bridge,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_dirname_creator=_trial_id,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(scratch), verbose=0, callbacks=[_Silence()]),
    )
    try:
        tuner.fit()
    except _StopNow as stop:
        if scheduler.ray_is_lost:
            _ABANDONED.append(stop)
    except TuneError as error:
        reason = str(error).strip().rpartition("\n")[2]  # it may be a whole traceback
        raise NadError(
            f"Ray Tune failed ({reason}); mend that and run the same command again: finished trials are kept"
        ) from error
    finally:
        del tuner
        gc.collect()  # Tune frees the resources of a run that was cut short when its objects go


def _trial_id(trial: Trial) -> str:
    return str(trial.trial_id)


def _trainable(function: TrialFunction, payload: Any, cpus: float, gpus: float) -> Any:
    shared = ray.put(payload)

    def trainable(config: dict[str, Any]) -> None:
        _run_trial(function, config, shared)

    return tune.with_resources(trainable, {"cpu": cpus, "gpu": gpus})


def _run_trial(function: TrialFunction, config: dict[str, Any], shared: ray.ObjectRef[Any]) -> None:
    """One trial in its worker process; how it failed is reported, so that the record has the text."""
    start = time.perf_counter()
    printed = Printed()

    def report(scores: Mapping[str, Any]) -> None:
        seconds = time.perf_counter() - start
        facts = {"host": platform.node(), "code": digest(), "seconds": seconds}
        tune.report({_REPORT: {**scores, **facts, **printed.report()}})

    try:
        with printed:
            function(config, ray.get(shared), report)
    except TrainingDiverged as error:
        report({"error": str(error), DIVERGED: True})
    except NadError as error:
        report({"error": str(error)})
    except Exception as error:
        report({"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})
        raise


@dataclass
class _Interruption:
    """What signals ask for, taken note of as they come and acted on between two steps of Tune."""

    on_first: Callable[[], object]
    signal: int | None = None
    at_once: bool = False
    told: bool = False

    def take(self, number: int) -> None:
        """The first lets running trials finish, the second does not, any further one cuts short even that."""
        if self.at_once:
            raise Interrupted(number)
        self.at_once = self.signal is not None
        self.signal = number

    def act(self) -> Interrupted | None:
        """What ends the run now, if anything does."""
        if self.at_once:
            return self.as_error()
        if self.signal is not None and not self.told:
            self.told = True
            with suppress(Exception):  # whether or not somebody can be told, the running trials finish
                self.on_first()
        return None

    def as_error(self) -> Interrupted | None:
        """What ends a run whose running trials cannot finish; None without a signal."""
        return None if self.signal is None else Interrupted(self.signal)


class _StopNow(BaseException):
    """Leaves Tune's loop at once: not an Exception, for which Tune waits until running trials end."""


class _Bridge(Searcher):
    """The searcher as Tune sees it.

    What the searcher raises is kept in `error` and ends the run: Tune would only log it.
    """

    def __init__(self, source: TrialSource, interruption: _Interruption) -> None:
        super().__init__()
        self.source = source
        self.interruption = interruption
        self.error: BaseException | None = None
        self.lost: dict[str, LostTrial] = {}

    def suggest(self, trial_id: str) -> Any:
        if self.interruption.signal is not None:
            return Searcher.FINISHED
        config = self._guarded(self.source.suggest, trial_id)
        if config is None and (self.error is not None or self.source.finished):
            return Searcher.FINISHED
        return config  # None: Tune asks again, for a running trial may still fail

    def on_report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial is to be stopped.

        For the scheduler: Tune asks it first, and keeps from its searcher the report on which a trial is stopped.
        """
        return bool(self._guarded(self.source.on_trial_result, trial_id, _reported(result)))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        lost = self.lost.pop(trial_id, LostTrial("the trial's process was lost")) if error else None
        self._guarded(self.source.on_trial_complete, trial_id, _reported(result or {}), lost)

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:
            self.error = self.error or error
            return None

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the searcher's own record is the only one."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher, which holds a database connection


def _reported(result: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{_REPORT}/"
    return {key.removeprefix(prefix): value for key, value in result.items() if key.startswith(prefix)}


class _Scheduler(FIFOScheduler):
    """First in, first out; stops a trial or the run when the bridge says so, and tells it why a process was lost.

    Tune asks it for a trial at every step, ten times a second, whatever the trials do: what has to be looked after in
    between is done then.
    """

    def __init__(self, bridge: _Bridge, interruption: _Interruption, trial_timeout: float | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bridge, self.interruption, self.trial_timeout = bridge, interruption, trial_timeout
        self.lifeline = Lifeline()
        self.ray_is_lost = False
        self.since: dict[str, float] = {}
        """When each running trial was first seen to run, on time.monotonic's clock."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        self.bridge.error = self.bridge.error or self.interruption.act() or self._lost_ray()
        if self.bridge.error is not None:
            raise _StopNow
        if self.trial_timeout is not None:
            self._end_those_over(self.trial_timeout, tune_controller.get_live_trials())
        return super().choose_trial_to_run(tune_controller)

    def _lost_ray(self) -> BaseException | None:
        try:
            self.lifeline.check()
        except RayLost as error:
            self.ray_is_lost = True
            # SIGTERM often goes to all processes of a job: then Ray's loss is no news
            return self.interruption.as_error() or error.with_traceback(None)  # its frames would keep Tune's objects
        return None

    def _end_those_over(self, timeout: float, trials: Iterable[Trial]) -> None:
        """Kill the process of each trial that runs for longer: one that hangs can be ended in no other way."""
        now = time.monotonic()
        running = [trial for trial in trials if trial.status == Trial.RUNNING]
        self.since = {trial.trial_id: self.since.get(trial.trial_id, now) for trial in running}
        for trial in running:
            actor = trial.temporary_state.ray_actor
            overdue = now - self.since[trial.trial_id] > timeout and trial.trial_id not in self.bridge.lost
            if overdue and actor is not None:
                self.bridge.lost[trial.trial_id] = LostTrial.by_timeout(timeout)
                ray.kill(actor)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """A stopped trial waits in its report, leaves its function from there, and its process takes the next one."""
        return self.STOP if self.bridge.on_report(trial.trial_id, result) else self.CONTINUE

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler, too; what it holds is of this process

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self.bridge.lost.setdefault(
            trial.trial_id, LostTrial.from_tune(Path(trial.error_file).read_text(errors="replace"))
        )


class _Silence(TrialProgressCallback):
    """Stands in for the callback that prints some trials even at verbose=0."""

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        pass

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        pass

"""Trials on Ray Tune; no other file imports it.

A trial is `function(config, payload, report) -> None`, written without Ray. It calls `report` with dicts of scores; the
last one has `final: True`. It travels by reference, so its module must be importable by workers.

Arrays for some trials only: the config's `shared` holds handles from `share`, and the function finds their contents
there. A report's `kept` reaches the searcher with its contents.
"""

from __future__ import annotations

import gc
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.exceptions import RayError
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
from study.signals import Interrupted, Interruption, handled_by

Report = Callable[[Mapping[str, Any]], None]
TrialFunction = Callable[[dict[str, Any], Any, Report], None]

_ABANDONED: list[BaseException] = []
"""Keeps Tune's objects after the loss of Ray: their destructors would wait for it until Ray ends the process."""
_REPORT = "report"  # key of a trial's report, apart from Tune's own entries
_SHARED, _KEPT = "shared", "kept"


class TrialSource(Protocol):
    """Source of trials and receiver of results: `study.search.searcher.OptunaSearcher`."""

    @property
    def finished(self) -> bool: ...
    def suggest(self, trial_id: str) -> dict[str, Any] | None: ...
    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """True to stop the trial; `on_trial_complete` follows."""
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
    """Run function(config, payload, report) for every config of the searcher.

    slots: limit of trials at a time.

    Worker processes are reused: a trial must seed its random draws and leave no state in modules.  An error fails the
    trial with its text; after a NadError the process is kept, after any other replaced.
    trial_timeout: limit in seconds; the process of a slower trial is killed, and its point asked once more.
    on_interrupt: called after the first Ctrl-C or SIGTERM; running trials finish, no other starts. A second one stops
        at once.
    Raises: ConfigError if no node has room for a trial; the searcher's errors; NadError if too many trials failed;
    RayLost; Interrupted.  The searcher is closed in every case.
    """
    interruption = Interruption(on_interrupt)
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
        with suppress(Exception):  # an unreachable record cannot be closed either; the first error tells why
            searcher.close()
        raise
    searcher.close()
    searcher.raise_if_failing()


def _fit(trainable: Any, bridge: _Bridge, scheduler: _Scheduler, slots: int, scratch: Path) -> None:
    """One fresh Tuner; Tune restores nothing, as the record is the searcher's.

    Raises: NadError in place of Tune's own errors.
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
        gc.collect()  # frees the resources of an interrupted run: Tune does that in destructors


def _trial_id(trial: Trial) -> str:
    return str(trial.trial_id)


def share(value: Any) -> Any:
    """A handle to one copy of these arrays on each machine, for a config's `shared`."""
    return ray.put(value)


def _trainable(function: TrialFunction, payload: Any, cpus: float, gpus: float) -> Any:
    shared = ray.put(payload)

    def trainable(config: dict[str, Any]) -> None:
        _run_trial(function, config, shared)

    return tune.with_resources(trainable, {"cpu": cpus, "gpu": gpus})


def _run_trial(function: TrialFunction, config: dict[str, Any], shared: ray.ObjectRef[Any]) -> None:
    """One trial in its worker process; a failure is reported too, for the record."""
    start = time.perf_counter()
    printed = Printed()

    def report(scores: Mapping[str, Any]) -> None:
        seconds = time.perf_counter() - start
        facts = {"host": platform.node(), "code": digest(), "seconds": seconds}
        kept = {_KEPT: [ray.put(scores[_KEPT])]} if _KEPT in scores else {}
        tune.report({_REPORT: {**scores, **facts, **printed.report(), **kept}})

    try:
        with printed:
            own = {name: ray.get(handle) for name, handle in config.get(_SHARED, {}).items()}
            function({**config, _SHARED: own}, ray.get(shared), report)
    except TrainingDiverged as error:
        report({"error": str(error), DIVERGED: True})
    except NadError as error:
        report({"error": str(error)})
    except Exception as error:
        report({"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})
        raise


class _StopNow(BaseException):
    """Leaves Tune's loop at once; for an Exception, Tune would wait for running trials."""


class _Bridge(Searcher):
    """Adapter from the searcher to Tune's interface.

    Keeps the searcher's error in `error` to end the run with it: Tune would only log it.
    """

    def __init__(self, source: TrialSource, interruption: Interruption) -> None:
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
        return config  # None: Tune asks again, as a running trial may still fail

    def on_report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """True to stop the trial.

        Called by the scheduler: Tune would withhold a stopped trial's last report from its searcher.
        """
        found = _reported(result)
        if _KEPT in found:
            try:
                found[_KEPT] = ray.get(found[_KEPT][0])
            except RayError:  # its process died meanwhile: another trial makes it again
                return False
        return bool(self._guarded(self.source.on_trial_result, trial_id, found))

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
        """Nothing: the study's record has all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher, but a database connection cannot be pickled


def _reported(result: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{_REPORT}/"
    return {key.removeprefix(prefix): value for key, value in result.items() if key.startswith(prefix)}


class _Scheduler(FIFOScheduler):
    """First in, first out; stops trials or the run, and reports lost processes.

    Tune polls this about ten times a second; timeouts, signals and Ray itself are checked then.
    """

    def __init__(self, bridge: _Bridge, interruption: Interruption, trial_timeout: float | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bridge, self.interruption, self.trial_timeout = bridge, interruption, trial_timeout
        self.lifeline = Lifeline()
        self.ray_is_lost = False
        self.since: dict[str, float] = {}
        """First sight of each running trial, on time.monotonic's clock."""

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
        """Kill the process of each slower trial: nothing else ends one that hangs."""
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
        """A stopped trial leaves its function at its report; its process takes the next one."""
        return self.STOP if self.bridge.on_report(trial.trial_id, result) else self.CONTINUE

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler, too

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self.bridge.lost.setdefault(
            trial.trial_id, LostTrial.from_tune(Path(trial.error_file).read_text(errors="replace"))
        )


class _Silence(TrialProgressCallback):
    """In place of Tune's own callback: that prints some trials even at verbose=0."""

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        pass

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        pass

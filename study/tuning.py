"""Trials on Ray Tune: the only file that knows it.

A trial is `function(config, payload, report) -> None`, written without Ray, where `report` takes a dict of scores and
`final: True` marks the last. It travels by reference: it lives in a module that workers can import.
"""

from __future__ import annotations

import gc
import platform
import re
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from nad.errors import NadError
from study.engine import available_slots  # first: it sets what Ray reads when it is imported
from study.printed import Printed

# isort: split
import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

Report = Callable[[Mapping[str, Any]], None]
TrialFunction = Callable[[dict[str, Any], Any, Report], None]

_REPORT = "report"  # what a trial reports travels under this key, apart from what Tune adds
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception): ")  # the line of a traceback that says what was raised


class TrialSource(Protocol):
    """Where trials come from and where their results go: `study.search.OptunaSearcher`."""

    @property
    def finished(self) -> bool: ...
    def suggest(self, trial_id: str) -> dict[str, Any] | None: ...
    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether the trial is to be stopped; `on_trial_complete` follows."""
        ...

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None, error: str) -> None: ...
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
) -> None:
    """Run function(config, payload, report) for every config that the searcher suggests, at most `slots` at a time.

    Worker processes are reused: a trial has to seed what it draws, and to leave no state in modules.  A trial that
    raises fails with its text: a NadError keeps the process, anything else gets a new one.
    Raises: ConfigError if no node can hold a trial; what the searcher raised; NadError if too many trials failed;
    KeyboardInterrupt for Ctrl-C, which stops running trials at once.  The searcher is closed in every case.
    """
    bridge = _Bridge(searcher)
    try:
        slots = min(slots, available_slots(cpus_per_trial, gpus_per_trial))
        with tempfile.TemporaryDirectory(prefix="nad-") as scratch, _interrupts_into(bridge):
            _fit(_trainable(function, payload, cpus_per_trial, gpus_per_trial), bridge, slots, scratch)
    finally:
        searcher.close()
    if bridge.error is not None:
        raise bridge.error
    searcher.raise_if_failing()


def _fit(trainable: Any, bridge: _Bridge, slots: int, scratch: str) -> None:
    """One fresh Tuner: the record is the searcher's, so Tune has nothing to restore."""
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=bridge,
            scheduler=_Scheduler(bridge),
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_dirname_creator=_trial_id,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=scratch, verbose=0, callbacks=[_Silence()]),
    )
    try:
        tuner.fit()
    except _StopNow:
        pass
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
        tune.report({_REPORT: {**scores, "host": platform.node(), "seconds": seconds, **printed.report()}})

    try:
        with printed:
            function(config, ray.get(shared), report)
    except NadError as error:
        report({"error": str(error)})
    except Exception as error:
        report({"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})
        raise


class _StopNow(BaseException):
    """Leaves Tune's loop at once: not an Exception, for which Tune waits until running trials end."""


class _Bridge(Searcher):
    """The searcher as Tune sees it.

    What the searcher raises is kept in `error` and ends the run: Tune would only log it.
    """

    def __init__(self, source: TrialSource) -> None:
        super().__init__()
        self.source = source
        self.error: BaseException | None = None
        self.losses: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
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
        loss = self.losses.pop(trial_id, "the trial's process was lost") if error else ""
        self._guarded(self.source.on_trial_complete, trial_id, _reported(result or {}), loss)

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
    """First in, first out; stops a trial or the run when the bridge says so, and tells it why a process was lost."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bridge = bridge

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        if self.bridge.error is not None:
            raise _StopNow
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """A stopped trial waits in its report, leaves its function from there, and its process takes the next one."""
        return self.STOP if self.bridge.on_report(trial.trial_id, result) else self.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        _header, *lines = Path(trial.error_file).read_text().strip().splitlines()
        reason = next((line for line in reversed(lines) if _EXCEPTION.match(line)), lines[0])
        self.bridge.losses[trial.trial_id] = "\n".join([reason, *lines])


class _Silence(TrialProgressCallback):
    """Stands in for the callback that prints some trials even at verbose=0."""

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        pass

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        pass


@contextmanager
def _interrupts_into(bridge: _Bridge) -> Iterator[None]:
    """Ctrl-C ends the run between two steps of Tune instead of in the middle of a write; a second one as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        bridge.error = KeyboardInterrupt()
        signal.signal(signal.SIGINT, original)

    original = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, original)

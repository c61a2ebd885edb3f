"""Trials for TensorBoard: one run each, with scores by epoch and hyperparameters.

Uses the plain file writer of tensorboardX: its `SummaryWriter` passes events through a queue to a thread, and hangs on
a full disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec as _find
from pathlib import Path
from typing import Any

from nad.errors import ConfigError
from reports.analysis.objectives import OBJECTIVES
from study.search.trial_event import TrialEvent

FLUSH_SECONDS = 10.0
"""Seconds between two flushes: the library waits for the disk each time."""


def require_installed() -> None:
    """Raises: ConfigError without the package that writes the files."""
    if _find("tensorboardX") is None:
        raise ConfigError(
            "--tensorboard needs the package tensorboardX, not installed here; leave the option out, or install it"
            " with: pip install 'nad-study[tensorboard]'"
        )


class TensorBoard:
    """Observes a search; gives up a run on a full disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[int, _TrialFile] = {}

    def __call__(self, event: TrialEvent) -> None:
        try:
            self._take(event)
        except OSError:
            self._close(event.number)

    def _take(self, event: TrialEvent) -> None:
        if event.kind == "started":
            self._runs[event.number] = _TrialFile(self._folder / f"trial-{event.number:05}")
        elif event.number not in self._runs:
            return
        elif event.kind == "progress":
            self._runs[event.number].scores(event.scores, int(event.scores.get("epoch", 0)))
        else:
            if event.kind == "complete":
                self._runs[event.number].result(event.params, event.scores)
            self._close(event.number)

    def close(self) -> None:
        """The search is over."""
        for number in list(self._runs):
            self._close(number)

    def _close(self, number: int) -> None:
        with suppress(OSError, KeyError):
            self._runs.pop(number).close()


class _TrialFile:
    """One trial's file of events."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX.event_file_writer import EventsWriter  # not above: only --tensorboard needs it

        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._writer = EventsWriter(str(folder / "events"))
        self._flushed = time.monotonic()

    def scores(self, scores: Mapping[str, Any], step: int) -> None:
        """Both objectives after an epoch."""
        for goal in OBJECTIVES:
            self._scalar(goal.name, scores[goal.name], step)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def result(self, params: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
        """Hyperparameters and final scores, for the tab HPARAMS."""
        from tensorboardX.summary import hparams

        metrics = {f"final/{goal.name}": scores[goal.name] for goal in OBJECTIVES}
        for summary in hparams(dict(params), metrics):
            self._write(summary)
        for name, value in metrics.items():
            self._scalar(name, value, 0)

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _scalar(self, name: str, value: float, step: int) -> None:
        from tensorboardX.summary import scalar

        self._write(scalar(name, value), step)

    def _write(self, summary: Any, step: int = 0) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def _flush(self) -> None:
        self._writer.flush()
        self._flushed = time.monotonic()

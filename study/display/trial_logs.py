"""Logs in the study's folder: one per trial, one of the driver's messages.

The driver writes them all, from the trials' reports: no shared file system is needed. The record is elsewhere; on a
write error, such as a full disk, a line is dropped silently.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study.search.trial_event import TrialEvent

_HEAD = ("seed", "draw", "retry", "restart", "control", "portfolio", "warm_start", "started")
"""Attributes known at a trial's start."""
_APART = (*_HEAD, "setting", "curve", "error", "traceback", "printed", "elapsed", "ended")
"""Attributes with a place of their own in the log, apart from the measured values."""


class DriverLog:
    """Appends sentences to a file, each on one line after its time in UTC."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, sentence: str) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        append(self._path, [f"{stamp} {' '.join(sentence.split())}"])


class TrialLogs:
    """Observes a search and logs each trial as it runs: parameters, scores, output, end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: set[int] = set()

    def __call__(self, event: TrialEvent) -> None:
        if event.kind == "started":
            self._running.add(event.number)
            with suppress(OSError):
                self._folder.mkdir(mode=0o700, exist_ok=True)
            self._append(event.number, _beginning(event))
        elif event.kind == "progress":
            self._append(event.number, [_scores(event.scores)])
        else:
            self._running.discard(event.number)
            self._append(event.number, _end(event))

    def close(self) -> None:
        """End the logs; trials still running are lost."""
        for number in self._running:
            self._append(
                number, ["stopped: the study ended while this trial ran; the next run asks its settings again"]
            )
        self._running.clear()

    def _append(self, number: int, lines: Iterable[str]) -> None:
        append(log_of(self._folder, number), lines)


def log_of(folder: Path, number: int) -> Path:
    """A trial's log in the folder of logs."""
    return folder / f"trial-{number:05}.log"


def append(path: Path, lines: Iterable[str]) -> None:
    """Append lines to an owner-only file in one write; errors are ignored."""
    text = "".join(f"{line}\n" for line in lines)
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, text.encode("utf-8", errors="replace"))
        finally:
            os.close(file)


def _beginning(event: TrialEvent) -> list[str]:
    known = [f"{name} {event.attrs[name]}" for name in _HEAD if name in event.attrs]
    return [
        f"trial {event.number}: {', '.join(known)}",
        *(f"  {name} = {value}" for name, value in event.params.items()),
    ]


def _end(event: TrialEvent) -> list[str]:
    measured = {name: value for name, value in event.attrs.items() if name not in _APART}
    reason = f": {event.error or event.attrs['error']}" if event.reason else ""
    lines = [f"{event.kind}{reason}"]
    lines += [f"  {_scores({**event.scores, **measured})}"] if event.scores or measured else []
    for name in ("traceback", "printed"):
        if text := event.attrs.get(name):
            lines += [f"{name}:", *(f"  {line}" for line in str(text).splitlines())]
    return lines


def _scores(scores: Mapping[str, Any]) -> str:
    """Such as `epoch 3, asr 0.1234, acc 0.9`."""
    return ", ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in scores.items()
    )

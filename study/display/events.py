"""Events of a running study for other programs, one JSON object a line; see docs/events.md."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console

from study.display.progress import Display, Step
from study.display.streams import LastingStream
from study.search.trial_event import TrialEvent

INTERVAL = 1.0
"""Seconds between two lines of one stage; its first and its last line always come."""


def display_for(arguments: list[str]) -> Display:
    """The display for a command with these arguments, chosen before parsing.

    The study goes on after its output's reader has left.
    """
    shown = cast("TextIO", LastingStream(sys.stdout))
    return EventLines(shown) if "--json" in arguments else Display(Console(file=shown))


class EventLines(Display):
    """Writes each event as one line of JSON; the command's end is the last one."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def begin(self, name: str, folder: Path, wanted: int) -> None:
        super().begin(name, folder, wanted)
        self._write("study", study=name, folder=str(folder), wanted_trials=wanted)

    def trial(self, event: TrialEvent) -> None:
        super().trial(event)
        self._write(
            "trial",
            number=event.number,
            state=event.kind,
            params=event.params,
            scores=event.scores,
            seed=event.attrs.get("seed"),
            error=event.reason or None,
        )

    def finished(self, report: Path) -> None:
        self.log(f"report: {report}")
        self._write("finished", report=str(report), summary=str(report.with_name("summary.json")), exit_code=0)

    def failed(self, sentence: str, exit_code: int) -> int:
        self._write("error", text=sentence, exit_code=exit_code)
        return super().failed(sentence, exit_code)

    def _say(self, sentence: str) -> None:
        self._write("say", text=sentence)

    @contextmanager
    def _stage(self, name: str, unit: str, status: Callable[[], str]) -> Iterator[Step]:
        last = -math.inf

        def step(done: int, total: int, running: Sequence[float] = (), /) -> None:
            nonlocal last
            now = time.monotonic()
            if done >= total or now - last >= INTERVAL:
                last = now
                self._write("stage", stage=name, unit=unit, done=done, all=total, running=list(running))

        yield step

    def _write(self, kind: str, **content: Any) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(plain({"event": kind, "time": stamp, **content}), allow_nan=False)
        self._file.write(f"{line}\n")  # in one call: an interrupt may come between two
        self._file.flush()


def plain(value: Any) -> Any:
    """JSON values: numpy's numbers as numbers, null for infinite and NaN, texts for unknown types."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)

"""Progress of a running study: one live line in a terminal, plain lines elsewhere.

`Display` is also the interface of other displays: `study.display.events` has one for programs.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from reports.analysis.frontier import non_dominated
from reports.analysis.objectives import OBJECTIVES, costs
from study.display.streams import LastingStream
from study.search.trial_event import TrialEvent

PLAIN_INTERVAL = 10.0
"""Seconds between two plain lines of one stage; its last line always comes."""


class Step(Protocol):
    """Reports a stage's progress; itself a `nad.progress.Progress`."""

    def __call__(self, done: int, total: int, running: Sequence[float] = (), /) -> None:
        """running: share done of each unit under way, from 0 to 1, if known."""


@dataclass
class TrialBoard:
    """The state of the search as one line, kept up to date by its events."""

    failed: int = 0
    pruned: int = 0
    running: set[int] = field(default_factory=set)
    scores: list[list[float]] = field(default_factory=list)
    """(asr, acc) of every complete trial."""

    @classmethod
    def of(cls, study: optuna.Study) -> TrialBoard:
        """The board of a study with its earlier trials."""
        board = cls()
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            board.scores.append(list(trial.values))
        board.pruned = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
        return board

    @property
    def done(self) -> int:
        """Trials counting towards the wanted number."""
        return len(self.scores) + self.pruned

    def on_event(self, event: TrialEvent) -> None:
        """Take an event in."""
        if event.kind == "started":
            self.running.add(event.number)
        elif event.kind != "progress":
            self.running.discard(event.number)
        if event.kind == "complete":
            self.scores.append([event.scores[objective.name] for objective in OBJECTIVES])
        elif event.kind == "failed":
            self.failed += 1
        elif event.kind == "pruned":
            self.pruned += 1

    def __str__(self) -> str:
        counts = f"{len(self.running)} running, {self.failed} failed"
        counts += f", {self.pruned} pruned" if self.pruned else ""
        if not self.scores:
            return counts
        values = np.array(self.scores)
        front = int(non_dominated(costs(values)).sum())
        return f"{counts}, front {front}, best ASR {values[:, 0].min():.1%}, best ACC {values[:, 1].max():.1%}"


class Display:
    """Shows stages one after another: `with display.stage("victim", "epochs") as step: ... step(done, all)`.

    log: receives messages and the progress of stages and trials as plain sentences; see `study.display.trial_logs`.
    """

    log: Callable[[str], None] = staticmethod(lambda sentence: None)

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, name: str, folder: Path, wanted: int) -> None:
        """A study begins, or goes on, in its folder."""
        self.log(f"study {name}: {wanted} trials wanted, process {os.getpid()} on host {platform.node()}")

    def say(self, sentence: str) -> None:
        """One sentence on its own line."""
        self.log(sentence)
        self._say(sentence)

    @contextmanager
    def stage(self, name: str, unit: str, status: Callable[[], str] = str) -> Iterator[Step]:
        """Show a stage's progress and expected end. status: further text, asked anew at every step."""
        ended = False
        with self._stage(name, unit, status) as show:

            def step(done: int, total: int, running: Sequence[float] = (), /) -> None:
                nonlocal ended
                show(done, total, running)
                if done >= total and not ended:
                    ended = True
                    self.log(f"{name}: {done}/{total} {unit}")

            yield step

    def trial(self, event: TrialEvent) -> None:
        """Log a trial's event."""
        if event.kind == "complete":
            found = ", ".join(f"{name.upper()} {score:.1%}" for name, score in event.scores.items())
            self.log(f"trial {event.number} complete: {found}")
        elif event.kind in ("pruned", "failed"):
            self.log(f"trial {event.number} {event.kind}: {event.reason}")

    def finished(self, report: Path) -> None:
        """The command has succeeded."""
        self.say(f"report: {report}")

    def failed(self, sentence: str, exit_code: int) -> int:
        """The command ends early; code 2 is for the user's mistakes.  Returns the exit code."""
        self.log(sentence)
        print(f"error: {sentence}" if exit_code == 2 else sentence, file=LastingStream(sys.stderr))
        return exit_code

    def _say(self, sentence: str) -> None:
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def _stage(self, name: str, unit: str, status: Callable[[], str]) -> Iterator[Step]:
        if self._console.is_terminal:
            with self._live(name, unit, status) as step:
                yield step
        else:
            yield self._plain(name, unit, status)

    @contextmanager
    def _live(self, name: str, unit: str, status: Callable[[], str]) -> Iterator[Step]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]} {task.fields[unit]}  {task.fields[status]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}", markup=False),
        )
        with Progress(*columns, console=self._console, refresh_per_second=4) as progress:
            task = progress.add_task(name, total=None, count="", unit=unit, status=status(), eta="")
            eta = Eta()

            def step(done: int, total: int, running: Sequence[float] = (), /) -> None:
                reached = done + sum(running)
                said = ", ".join(part for part in (status(), _said(running)) if part)
                progress.update(
                    task,
                    completed=reached,
                    total=total,
                    count=f"{done}/{total}",
                    status=said,
                    eta=eta.text(reached, total),
                )

            yield step

    def _plain(self, name: str, unit: str, status: Callable[[], str]) -> Step:
        eta = Eta()
        last = -PLAIN_INTERVAL

        def step(done: int, total: int, running: Sequence[float] = (), /) -> None:
            nonlocal last
            now = time.monotonic()
            if done < total and now - last < PLAIN_INTERVAL:
                return
            last = now
            parts = [f"{done}/{total} {unit}", status(), _said(running), eta.text(done + sum(running), total)]
            self._say(f"{name}: {', '.join(part for part in parts if part)}")

        return step


def _said(running: Sequence[float]) -> str:
    """Such as `2 under way (25% done)`."""
    return f"{len(running)} under way ({np.mean(running):.0%} done)" if running else ""


class Eta:
    """A stage's expected end, from the pace since its first step."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def text(self, done: float, total: int) -> str:
        """Such as `ETA 2:05`; empty before there is a pace, and at the end."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        start, before = self._first
        if done <= before or done >= total:
            return ""
        seconds = round((now - start) / (done - before) * (total - done))
        minutes, rest = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"ETA {hours}:{minutes:02}:{rest:02}" if hours else f"ETA {minutes}:{rest:02}"

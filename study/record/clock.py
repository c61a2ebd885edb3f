"""Seconds per stage over all runs of a study, kept in its record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna

STAGES = ("victim", "teachers", "trials", "baselines", "confirmation")
_ATTRIBUTE = "seconds"


class Clock:
    """Adds this run's seconds to the recorded ones of earlier runs.

    started: start of the command, and of the total, on time.monotonic's clock.
    """

    def __init__(self, study: optuna.Study, started: float) -> None:
        self._study = study
        self._started = started
        before = study.user_attrs.get(_ATTRIBUTE, {})
        self._before_total = before.get("total", 0.0)
        self._seconds = {stage: before.get(stage, 0.0) for stage in STAGES}
        self._running: tuple[str, float] | None = None

    def set(self, stage: str, seconds: float) -> None:
        """Set a stage's time from elsewhere, such as a cached victim's training."""
        self._seconds[stage] = seconds

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of this block."""
        self._running = (name, time.monotonic())
        try:
            yield
        finally:
            self._seconds = self._now()
            self._running = None

    def read(self) -> dict[str, float]:
        """All stages and the total so far, also in mid-stage; recorded, so killed runs count."""
        seconds = {**self._now(), "total": self._before_total + time.monotonic() - self._started}
        self._study.set_user_attr(_ATTRIBUTE, seconds)
        return {name: round(value, 3) for name, value in seconds.items()}

    def _now(self) -> dict[str, float]:
        if self._running is None:
            return self._seconds
        name, since = self._running
        return {**self._seconds, name: self._seconds[name] + time.monotonic() - since}

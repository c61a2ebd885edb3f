"""When a trial began and ended, in UTC, and how long it took.

Optuna hands out local times without their offset. They jump by an hour twice a year, so they are read only where an
earlier version left nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STARTED, ENDED = "started", "ended"
"""User attributes: ISO 8601 times of the driver's clock."""
ELAPSED = "elapsed"
"""User attribute: seconds from the question to the answer, on the driver's monotonic clock."""
COMPUTED = "seconds"
"""User attribute: seconds in the worker, on its own monotonic clock."""


def began(trial: FrozenTrial) -> datetime | None:
    """None before it began."""
    return _recorded(trial, STARTED) or _in_utc(trial.datetime_start)


def ended(trial: FrozenTrial) -> datetime | None:
    """None while it runs."""
    return _recorded(trial, ENDED) or _in_utc(trial.datetime_complete, not_before=began(trial))


def seconds(trial: FrozenTrial) -> float | None:
    """How long it took; None while it runs."""
    end, start = ended(trial), began(trial)
    if end is None or start is None:
        return None
    for clock in (ELAPSED, COMPUTED):
        if clock in trial.user_attrs:
            return float(trial.user_attrs[clock])
    return max(0.0, (end - start).total_seconds())


def _recorded(trial: FrozenTrial, attribute: str) -> datetime | None:
    text = trial.user_attrs.get(attribute)
    return None if text is None else datetime.fromisoformat(text)


def _in_utc(local: datetime | None, not_before: datetime | None = None) -> datetime | None:
    """A local time that comes twice in the hour when summer time ends is the second where the first is too early."""
    if local is None:
        return None
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return second if not_before is not None and first < not_before else first

"""Start, end and length of a trial, in UTC.

Optuna's local times lack their offset and jump by an hour twice a year. They are read only for records of an earlier
version.
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
    """Its start; None while it waits."""
    return _recorded(trial, STARTED) or _in_utc(trial.datetime_start)


def ended(trial: FrozenTrial) -> datetime | None:
    """Its end; None while it runs."""
    return _recorded(trial, ENDED) or _in_utc(trial.datetime_complete, not_before=began(trial))


def seconds(trial: FrozenTrial) -> float | None:
    """Its length; None while it runs."""
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
    """UTC of a local time; of two readings after summer time, the first possible."""
    if local is None:
        return None
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return second if not_before is not None and first < not_before else first

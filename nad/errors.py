"""What can go wrong, as one small tree.

NadError                 anything this project raises on purpose; the command line prints it as one sentence
+-- ConfigError          a setting is out of its range, unknown, or contradicts another
+-- DataError            images or labels are missing, unreadable, or not what was asked for
+-- WeakBackdoor         the victim's backdoor did not take: erasing it would prove nothing
+-- TrainingDiverged     the loss of a training is no longer finite
|   +-- EraseDiverged    the same, in an erase
+-- CheckpointError      a model file cannot be read, or holds another model
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class NadError(Exception):
    """Base of all errors that a user can act on: its text is one sentence with the value and the remedy."""


class ConfigError(NadError):
    """A setting is out of its range, unknown, or contradicts another."""


class DataError(NadError):
    """Images or labels are missing, unreadable, or not what was asked for."""


class WeakBackdoor(NadError):
    """The victim's backdoor did not take: erasing it would prove nothing."""


class TrainingDiverged(NadError):
    """The loss of a training is no longer finite."""


class EraseDiverged(TrainingDiverged):
    """The loss of an erase, or of its teacher, is no longer finite."""


class CheckpointError(NadError):
    """A model file cannot be read, or holds another model."""


def unknown_name(kind: str, name: str, known: Iterable[str], suggested: Iterable[str] | None = None) -> ConfigError:
    """The error for a name that no registry entry has, with the nearest one as a suggestion.

    known: is listed.  suggested: where the nearest one may come from, if not from the list.
    """
    names = sorted(known)
    near = get_close_matches(name, names if suggested is None else suggested, n=1)
    suggestion = f" did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {kind} {name!r};{suggestion} known: {', '.join(names)}")


def require_range(name: str, value: float, low: float, high: float, *, low_open: bool = False) -> None:
    """Raise ConfigError unless low <= value <= high (low < value when low_open); NaN never passes."""
    above = low < value if low_open else low <= value
    if not (above and value <= high):
        bracket = "(" if low_open else "["
        raise ConfigError(f"{name} must be in {bracket}{low:g}, {high:g}], got {value:g}")

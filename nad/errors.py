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
from numbers import Integral, Real


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
    near = get_close_matches(str(name), names if suggested is None else suggested, n=1)
    suggestion = f" did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {kind} {name!r};{suggestion} known: {', '.join(names)}")


def require_range(name: str, value: float, low: float, high: float, *, low_open: bool = False) -> None:
    """Raise ConfigError unless low <= value <= high (low < value when low_open); NaN never passes.

    Where both ends are of type int, the value has to be a whole number; what is no number at all never passes.
    """
    whole = isinstance(low, int) and isinstance(high, int)
    require_number(name, value, whole=whole)
    above = low < value if low_open else low <= value
    if not (above and value <= high):
        bracket = "(" if low_open else "["
        raise ConfigError(f"{name} must be in {bracket}{low:g}, {high:g}], got {value:g}")


def require_number(name: str, value: object, *, whole: bool = False) -> None:
    """Raise ConfigError unless the value is a number, or a whole one; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{name} must be {kind}, got {_brief(value)}")


def require_instance(name: str, value: object, kind: type) -> None:
    """Raise ConfigError unless the value is of this type."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}")


def _brief(value: object) -> str:
    """A text or a number as it is, anything else by its type: it may take pages to write."""
    return repr(value) if isinstance(value, str | Real | None) else f"a {type(value).__name__}"

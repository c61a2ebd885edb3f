"""The tree of errors.

NadError                 base of all deliberate errors; the command line prints it as one sentence
+-- ConfigError          a setting is out of range, unknown, or contradicts another
+-- DataError            images or labels are missing, unreadable or unfit
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
    """Base of all deliberate errors: one sentence with the value and the remedy."""


class ConfigError(NadError):
    """A setting is out of range, unknown, or contradicts another."""


class DataError(NadError):
    """Images or labels are missing, unreadable or unfit."""


class WeakBackdoor(NadError):
    """The victim's backdoor did not take: erasing it would prove nothing."""


class TrainingDiverged(NadError):
    """The loss of a training is no longer finite."""


class EraseDiverged(TrainingDiverged):
    """The loss of an erase, or of its teacher, is no longer finite."""


class CheckpointError(NadError):
    """A model file cannot be read, or holds another model."""


def unknown_name(kind: str, name: str, known: Iterable[str], suggested: Iterable[str] | None = None) -> ConfigError:
    """The error for an unknown name, with the nearest known one as a suggestion.

    known: listed in the error.  suggested: candidates for the nearest one; None for the listed names.
    """
    names = sorted(known)
    near = get_close_matches(str(name), names if suggested is None else suggested, n=1)
    suggestion = f" did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {kind} {name!r};{suggestion} known: {', '.join(names)}")


def require_range(name: str, value: float, low: float, high: float, *, low_open: bool = False) -> None:
    """Raise ConfigError unless low <= value <= high (low < value when low_open); NaN never passes.

    If both ends are of type int, the value must be a whole number.
    """
    whole = isinstance(low, int) and isinstance(high, int)
    require_number(name, value, whole=whole)
    above = low < value if low_open else low <= value
    if not (above and value <= high):
        bracket = "(" if low_open else "["
        raise ConfigError(f"{name} must be in {bracket}{low:g}, {high:g}], got {value:g}")


def require_number(name: str, value: object, *, whole: bool = False) -> None:
    """Raise ConfigError unless the value is a number (or a whole one), and no boolean."""
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{name} must be {kind}, got {_brief(value)}")


def require_instance(name: str, value: object, kind: type) -> None:
    """Raise ConfigError unless the value is of this type."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}")


def _brief(value: object) -> str:
    """A text or number itself, anything else by its type: its repr may take pages."""
    return repr(value) if isinstance(value, str | Real | None) else f"a {type(value).__name__}"

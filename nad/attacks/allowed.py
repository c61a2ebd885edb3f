"""Allowed values of an attack's settings: declared once per field, for the check and for --help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from nad.errors import ConfigError, require_range, unknown_name

_KEY = "allowed"
_NEEDS = "needs"


class Allowed(Protocol):
    """Allowed values of a setting; `str` describes them for people."""

    def require(self, name: str, value: Any) -> None:
        """Raise ConfigError for any other value."""


@dataclass(frozen=True)
class Within:
    """Numbers from `low` to `high`, or above an open `low`; whole numbers if both ends are of type int."""

    low: float
    high: float
    low_open: bool = False

    def require(self, name: str, value: Any) -> None:
        require_range(name, value, self.low, self.high, low_open=self.low_open)

    def __str__(self) -> str:
        low, high = (f"{end:,}" if isinstance(end, int) else f"{end:,.12g}" for end in (self.low, self.high))
        return f"above {low}, up to {high}" if self.low_open else f"{low} to {high}"


@dataclass(frozen=True)
class OneOf:
    """One of some names or numbers.  kind: noun for a name in the error."""

    values: tuple[Any, ...]
    kind: str = ""

    def require(self, name: str, value: Any) -> None:
        if any(value == each and type(value) is type(each) for each in self.values):
            return
        if self.kind:
            raise unknown_name(self.kind, value, self.values)
        raise ConfigError(f"{name} must be {self}, got {value}")

    def __str__(self) -> str:
        first = ", ".join(map(str, self.values[:-1]))
        return f"{first} or {self.values[-1]}"


@dataclass(frozen=True)
class SomeOf:
    """One or more of some names, each at most once.  kind: noun for a name in the error."""

    values: tuple[str, ...]
    kind: str

    def require(self, name: str, value: Any) -> None:
        if not isinstance(value, tuple | list) or not value or len(set(value)) != len(value):
            raise ConfigError(f"{name} must name each {self.kind} at most once and at least one, got {value}")
        for each in value:
            if each not in self.values:
                raise unknown_name(self.kind, each, self.values)

    def __str__(self) -> str:
        return f"one or more of {','.join(self.values)}"


def allow(allowed: Allowed, *, needs: str | None = None) -> dict[str, Any]:
    """Metadata for a dataclass field.  needs: a setting; at 0 it makes this one ineffective."""
    return {_KEY: allowed} if needs is None else {_KEY: allowed, _NEEDS: needs}


def require_allowed(attack: Any) -> None:
    """Raise ConfigError for a setting outside its allowed values."""
    for name, allowed in allowed_of(attack).items():
        allowed.require(name, getattr(attack, name))


def allowed_of(attack: Any) -> Mapping[str, Allowed]:
    """Allowed values by setting of an attack, or of its class."""
    return dict(_metadata(attack, _KEY))


def needs_of(attack: Any) -> Mapping[str, str]:
    """The setting needed by each setting of an attack, or of its class; see `allow`."""
    return dict(_metadata(attack, _NEEDS))


def _metadata(attack: Any, key: str) -> Iterator[tuple[str, Any]]:
    for each in fields(attack):
        if key in each.metadata:
            yield each.name, each.metadata[key]

"""Settings on the command line as NAME=VALUE, parsed by the type of the default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nad.errors import ConfigError

_TRUTH = {"true": True, "false": False}


def read_settings(
    option: str, texts: Sequence[str], defaults: Mapping[str, Any], unknown: Callable[[str, str], ConfigError]
) -> dict[str, Any]:
    """Settings by name, from texts such as steps=100.

    option: their source.  defaults: by name; None stands for a text.  unknown: makes the error for an unknown name,
    from the text and the name.
    Raises: ConfigError for a text of another form, a value of another type, or a setting given twice.
    """
    found = dict[str, Any]()
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{option} {text!r} is not NAME=VALUE, such as {_example(defaults)}")
        name = name.replace("-", "_")
        if name not in defaults:
            raise unknown(text, name)
        if name in found:
            raise ConfigError(f"{option} gives {name} twice; say it once")
        found[name] = _read(f"{option} {text!r}", value, defaults[name])
    return found


def as_text(value: Any) -> str:
    """A value in the form of the command line."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def listed(settings: Mapping[str, Any]) -> str:
    """Settings in the form of the command line."""
    return " ".join(f"{name}={as_text(value)}" for name, value in settings.items())


def _example(defaults: Mapping[str, Any]) -> str:
    return next((listed({name: value}) for name, value in defaults.items() if value is not None), "steps=100")


def _read(given: str, value: str, default: Any) -> Any:
    if default is None:
        return value
    if isinstance(default, tuple):
        return tuple(value.split(","))
    if isinstance(default, bool):
        if value.lower() not in _TRUTH:
            raise ConfigError(f"{given} must be true or false")
        return _TRUTH[value.lower()]
    try:
        return type(default)(value)
    except ValueError as error:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ConfigError(f"{given} must be {kind}, such as {as_text(default)}") from error

"""Help texts of a command's options, from the docstrings of its fields."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
import tyro

T = TypeVar("T")
_METAVARS = {str: "STR", int: "INT", float: "FLOAT", Path: "PATH"}


def documented(config: type[T]) -> type[T]:
    """Class decorator, above the dataclass decorator: tidy help texts for tyro.

    By itself, tyro keeps the source's line breaks, appends `(default: None)`, and shows `{None}|PATH` for a path.
    """
    sources = [each for each in reversed(config.__mro__) if dataclasses.is_dataclass(each)]
    params = [each for source in sources for each in docstring_parser.parse_from_object(source).params]
    texts = {each.arg_name: each.description for each in params}
    hints = get_type_hints(config, include_extras=True)
    for each in dataclasses.fields(config):  # type: ignore[arg-type]
        unset = each.default is None or each.default == ()
        arg = tyro.conf.arg(
            help=" ".join((texts.get(each.name) or "").split()),
            help_behavior_hint="" if unset else None,
            metavar=_metavar(hints[each.name]),
        )
        config.__annotations__[each.name] = Annotated[hints[each.name], arg]
    return config


def groups_of(config: type) -> list[type]:
    """The dataclasses with a command's options: its groups, or itself."""
    factories: list[Any] = [each.default_factory for each in dataclasses.fields(config)]
    return [each for each in factories if isinstance(each, type) and dataclasses.is_dataclass(each)] or [config]


def fields_of(config: type) -> dict[str, dataclasses.Field[Any]]:
    """The options of a command by name."""
    return {each.name: each for group in groups_of(config) for each in dataclasses.fields(group)}


def _metavar(hint: Any) -> str | None:
    """The placeholder for an optional value; None leaves it to tyro."""
    if get_origin(hint) not in (Union, types.UnionType):
        return None
    given = [each for each in get_args(hint) if each is not type(None)]
    return _METAVARS.get(given[0]) if len(given) == 1 else None

"""What --help says of a command's options: the docstrings of its fields, as running text."""

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
    """A decorator, above that of the dataclass. Left to itself, tyro keeps the line breaks that a docstring has in the
    source, shows `(default: None)` beside a sentence that says what stands for it, and `{None}|PATH` for a path."""
    sources = [each for each in reversed(config.__mro__) if dataclasses.is_dataclass(each)]
    params = [each for source in sources for each in docstring_parser.parse_from_object(source).params]
    texts = {each.arg_name: each.description for each in params}
    hints = get_type_hints(config, include_extras=True)
    for each in dataclasses.fields(config):  # type: ignore[arg-type]
        unset = each.default is None or each.default == ()
        told = tyro.conf.arg(
            help=" ".join((texts.get(each.name) or "").split()),
            help_behavior_hint="" if unset else None,
            metavar=_metavar(hints[each.name]),
        )
        config.__annotations__[each.name] = Annotated[hints[each.name], told]
    return config


def _metavar(hint: Any) -> str | None:
    """What stands for the value of an option that may be left out; None where tyro knows better."""
    if get_origin(hint) not in (Union, types.UnionType):
        return None
    given = [each for each in get_args(hint) if each is not type(None)]
    return _METAVARS.get(given[0]) if len(given) == 1 else None

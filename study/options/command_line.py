"""Mistakes in a command line, told in one sentence with the value and the remedy, as every other mistake is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import pairwise

from tyro import _errors as tyro_errors
from tyro._arguments import ArgumentDefinition

from nad.errors import ConfigError

_KINDS = {
    "INT": ("a whole number", "whole numbers"),
    "FLOAT": ("a number", "numbers"),
    "PATH": ("a path", "paths"),
    "STR": ("a text", "texts"),
}
"""What tyro calls a value, and how one and several of them are called here."""


@contextmanager
def told_in_a_sentence(config: type, given: Sequence[str]) -> Iterator[None]:
    """Around `tyro.cli(config, args=given, ...)`: what it would refuse in a box of several lines raises ConfigError.

    tyro's hook for that is not part of its stable interface, so its version is pinned. A kind of mistake that is not
    known here still ends in tyro's box. A text that is no Unicode, as names of old archives are, is refused, too:
    records and reports could not hold it.
    """
    for option, word in pairwise(["", *given]):
        require_unicode(option if option.startswith("--") else "the argument", word)

    def refuse(event: tyro_errors.ParseErrorEvent) -> None:
        if (sentence := _sentence(event, config, given)) is not None:
            raise ConfigError(f"{sentence}{'' if sentence.endswith('?') else ';'} `{event.prog} --help` says more")

    with tyro_errors.on_parse_error(refuse):
        yield


def require_unicode(what: str, text: str) -> None:
    """Raise ConfigError for a name with bytes that the system's encoding does not know, such as Latin-1's."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(text).decode(errors="backslashreplace")
        raise ConfigError(
            f"{what} '{shown}' is not in UTF-8; rename that file or folder, or give a link to it with another name"
        ) from error


def _sentence(event: tyro_errors.ParseErrorEvent, config: type, given: Sequence[str]) -> str | None:
    options = ["--" + each.name.replace("_", "-") for each in dataclasses.fields(config)]
    # where an argument is missing, an option with a slip in its name may have been taken for it
    slips = (word for word in given if word.startswith("--") and _option(word) not in options)
    match event:
        case tyro_errors.UnrecognizedArgs(tokens=[first, *_]):
            return _unknown(first, options)
        case tyro_errors.MissingArgs(missing_arguments=missing):
            return f"{event.prog} needs {', '.join(_name(each.arg) for each in missing)}"
        case tyro_errors.BadValue(argument=argument):
            slip = next(slips, "") if argument.is_positional() else ""
            return _unknown(slip, options) if slip else f"{_name(argument)} needs {_kind(argument)}"
        case tyro_errors.InvalidChoice(argument=argument, value=value, choices=choices):
            known = ", ".join(sorted(choice for choice in choices if choice != "None"))
            return f"{_name(argument)} must be one of {known}, got {value!r}"
        case tyro_errors.InstantiationFailure(argument=ArgumentDefinition() as argument):
            return f"{_name(argument)} must be {_kind(argument)}, got {_value(_name(argument), given)!r}"
    return None


def _unknown(word: str, options: Sequence[str]) -> str:
    """What no option and no argument takes, with the nearest option."""
    if not word.startswith("-"):
        return f"nothing takes the word {word!r}"
    option = word.partition("=")[0]
    near = get_close_matches(option, options, n=1)
    return f"unknown option {option!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _name(argument: ArgumentDefinition) -> str:
    """The option, or the name of an argument without one, in capitals."""
    return argument.field.intern_name.upper() if argument.is_positional() else argument.lowered.name_or_flags[0]


def _kind(argument: ArgumentDefinition) -> str:
    metavar = str(argument.lowered.metavar or "").replace("{None}|", "").strip("{}[]")
    words = metavar.split()
    one, several = _KINDS.get(words[0] if words else "", (metavar or "a value",) * 2)
    if "..." in metavar:
        return several
    return f"{len(words)} {several}" if len(words) > 1 and words == words[:1] * len(words) else one


def _option(word: str) -> str:
    """The option in a word of a command line, as --help writes it: tyro takes underscores, too."""
    return word.partition("=")[0].replace("_", "-")


def _value(option: str, given: Sequence[str]) -> str:
    """What was given to an option, the last time that it was."""
    for at in reversed(range(len(given))):
        if _option(given[at]) == option:
            _, equals, value = given[at].partition("=")
            values = list[str]()
            for word in given[at + 1 :]:
                if word.startswith("--"):
                    break
                values.append(word)
            return value if equals else " ".join(values)
    return ""

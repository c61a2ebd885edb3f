"""One-line errors for mistakes in a command line: the mistake, its value and the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import pairwise

from tyro import _errors as tyro_errors
from tyro._arguments import ArgumentDefinition

from nad.errors import ConfigError
from study.options.helptext import fields_of

_KINDS = {
    "INT": ("a whole number", "whole numbers"),
    "FLOAT": ("a number", "numbers"),
    "PATH": ("a path", "paths"),
    "STR": ("a text", "texts"),
}
"""tyro's name of a value, and our words for one and several."""


@contextmanager
def one_line_errors(config: type, given: Sequence[str]) -> Iterator[None]:
    """Around `tyro.cli(config, args=given, ...)`: raise ConfigError in place of tyro's box of several lines.

    tyro's hook is outside its stable interface, so its version is pinned. Unknown kinds of mistakes still end in the
    box. Texts outside Unicode, such as names from old archives, are refused, too: records and reports cannot hold them.
    """
    for option, word in pairwise(["", *given]):
        require_unicode(option if option.startswith("--") else "the argument", word)

    def refuse(event: tyro_errors.ParseErrorEvent) -> None:
        if (sentence := _sentence(event, config, given)) is not None:
            raise ConfigError(f"{sentence}{'' if sentence.endswith('?') else ';'} `{event.prog} --help` says more")

    with tyro_errors.on_parse_error(refuse):
        yield


def require_unicode(what: str, text: str) -> None:
    """Raise ConfigError for a name with bytes outside UTF-8, such as Latin-1's.

    In the C locale Python reads UTF-8 as ASCII with escapes; the bytes decide there, too.
    """
    name = os.fsencode(text)
    try:
        name.decode()
    except UnicodeDecodeError as error:
        shown = name.decode(errors="backslashreplace")
        raise ConfigError(
            f"{what} '{shown}' is not in UTF-8; rename that file or folder, or give a link to it with another name"
        ) from error


def _sentence(event: tyro_errors.ParseErrorEvent, config: type, given: Sequence[str]) -> str | None:
    options = ["--" + name.replace("_", "-") for name in fields_of(config)]
    # a misspelt option may have been taken for a missing argument
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
    """The sentence for an unknown word, with the nearest option."""
    if not word.startswith("-"):
        return f"nothing takes the word {word!r}"
    option = word.partition("=")[0]
    near = get_close_matches(option, options, n=1)
    return f"unknown option {option!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _name(argument: ArgumentDefinition) -> str:
    """The option, or a positional argument's name in capitals."""
    return argument.field.intern_name.upper() if argument.is_positional() else argument.lowered.name_or_flags[0]


def _kind(argument: ArgumentDefinition) -> str:
    metavar = str(argument.lowered.metavar or "").replace("{None}|", "").strip("{}[]")
    words = metavar.split()
    one, several = _KINDS.get(words[0] if words else "", (metavar or "a value",) * 2)
    if "..." in metavar:
        return several
    return f"{len(words)} {several}" if len(words) > 1 and words == words[:1] * len(words) else one


def _option(word: str) -> str:
    """The option in a word of a command line, spelt as in --help: tyro accepts underscores, too."""
    return word.partition("=")[0].replace("_", "-")


def _value(option: str, given: Sequence[str]) -> str:
    """The last value given to an option."""
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

"""Markdown from plain text: escaped text, tables, and blocks of code."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

MARKUP = re.compile(r"[\\`*_\[\]<>&|~$#@]|(?<=:)/(?=/)|(?<=\bwww)\.", re.IGNORECASE)
"""Characters with a meaning inside a line, among them those of bare addresses, which GitHub links."""
BLOCK_START = re.compile(r"^(?:(?=[-+=])|(\d+)(?=[.)](?:\s|$)))")
"""Characters with a meaning at the start of a line: lists, rulers, underlines of heads."""
UNSAFE = ("Cc", "Cs", "Cn")
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They turn the direction of the text around them; right-to-left text does not need them."""


def escaped(text: str) -> str:
    """The text on one escaped line; unprintable characters become U+FFFD."""
    return BLOCK_START.sub(r"\1\\", _inline(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = ()) -> str:
    """A table of plain texts.  numeric: columns aligned to the right."""
    right = set(numeric)
    lines = [head, *rows]
    body = ["| " + " | ".join(_inline(cell) for cell in line) + " |" for line in lines]
    ruler = "| " + " | ".join("---:" if index in right else "---" for index in range(len(head))) + " |"
    return "\n".join([body[0], ruler, *body[1:]])


def code_block(text: str, language: str = "") -> str:
    """The text as it is, behind a fence longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{_shown(text, keep=chr(10))}\n{fence}"


def bullets(items: Iterable[str]) -> str:
    """A list of plain texts."""
    return "\n".join(f"- {escaped(item)}" for item in items)


def _inline(text: str) -> str:
    return MARKUP.sub(r"\\\g<0>", " ".join(_shown(text).split()))


def _shown(text: str, keep: str = "") -> str:
    def is_shown(character: str) -> bool:
        if character in keep:
            return True
        return character not in BIDI_CONTROLS and unicodedata.category(character) not in UNSAFE

    return "".join(c if is_shown(c) else " " if c.isspace() else "\ufffd" for c in text)

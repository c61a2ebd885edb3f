"""Docstrings as the site shows them: what stands on a line of its own in the source does so on the page.

The project's docstrings are plain sentences. Lines such as `Raises: ...` or `images: ...` begin a new paragraph here,
and what is laid out in columns or as a tree keeps its layout.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

FIELD = re.compile(r"[\"`]?\w[\w., ]{0,40}[\"`]?: |Returns? ")
"""How a line begins that says something of its own."""
LAID_OUT = re.compile(r"[|+]|[A-Z]\w+ {2,}\w")
"""How a line of a tree or of columns begins."""


def as_markdown(docstring: str) -> str:
    """The docstring with its lines where the source has them."""
    return "\n\n".join(_paragraph(part) for part in docstring.split("\n\n"))


def _paragraph(text: str) -> str:
    lines = text.splitlines()
    if sum(bool(LAID_OUT.match(line)) for line in lines) > 1:
        return f"```text\n{text}\n```"
    parts = [lines[0]] if lines else []
    for line in lines[1:]:
        parts.append(f"\n{line}" if FIELD.match(line) else line)
    return "\n".join(parts)


class SourceLayout(griffe.Extension):
    """Rewrites every docstring of a package that was read."""

    def on_object(self, *, obj: griffe.Object, **_others: Any) -> None:
        """Called for modules, classes, functions and attributes alike."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)

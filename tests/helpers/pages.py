"""Code blocks of the project's pages, in reading order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

RUN = "<!-- run -->"
"""On the line before a console block: its commands are run, and not only checked."""

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]+)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:python -m|nad-study|make) [^`]*)`")
_TITLE = re.compile(r'title="([^"]+)"')


class Block(NamedTuple):
    page: Path
    line: int
    """Of its first line of text, from 1."""
    language: str
    title: str
    """File written or changed by the block; empty for others."""
    text: str
    run: bool

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Command(NamedTuple):
    place: str
    words: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """Fenced blocks of a page, those with a language."""
    source = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(source):
        language, _, rest = match["info"].partition(" ")
        title = _TITLE.search(rest)
        found.append(
            Block(
                page,
                source.count("\n", 0, match.start("text")) + 1,
                language,
                title[1] if title else "",
                re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
                source[: match.start()].rstrip().endswith(RUN),
            )
        )
    return found


def console_commands(block: Block) -> Iterator[Command]:
    """The `$` commands of a console block; a backslash goes on in the next line, # begins a comment."""
    joined = re.sub(r" *\\\n *", " ", block.text)
    for line in joined.splitlines():
        if line.startswith("$ "):
            yield Command(block.place, tuple(shlex.split(line.removeprefix("$ "), comments=True)))


def inline_commands(page: Path) -> Iterator[Command]:
    """Commands with arguments in running text, such as `make report STUDY=runs/a`."""
    source = page.read_text(encoding="utf-8")
    for match in _INLINE.finditer(source):
        words = shlex.split(match[1])
        complete = len(words) > 2 if words[0] == "nad-study" else any(word.startswith("-") for word in words[3:])
        if words[0] == "make" or complete:
            line = source.count("\n", 0, match.start()) + 1
            yield Command(f"{page.relative_to(ROOT)}:{line}", tuple(words))

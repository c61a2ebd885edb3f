"""What a trial prints and warns of, caught in its worker process, for the way home with what it reports."""

from __future__ import annotations

import io
import sys
from types import TracebackType
from typing import TextIO

MOST = 8000
"""Characters that are kept: the last ones."""


class Printed(io.TextIOBase):
    """Stands in for stdout and stderr while a trial runs, and remembers the end of what went through.

    Python's own printing, warnings and logging, from every thread of the process; not what a library in C writes.
    """

    def __init__(self) -> None:
        self._text = ""
        self._replaced: tuple[TextIO, TextIO] | None = None

    def write(self, text: str) -> int:
        self._text = (self._text + text)[-MOST:]
        return len(text)

    def writable(self) -> bool:
        return True

    def report(self) -> dict[str, str]:
        """For a trial's report: {"printed": text}, or nothing where nothing was printed."""
        return {"printed": self._text} if self._text else {}

    def __enter__(self) -> Printed:
        self._replaced = (sys.stdout, sys.stderr)
        sys.stdout = sys.stderr = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._replaced is not None:
            sys.stdout, sys.stderr = self._replaced

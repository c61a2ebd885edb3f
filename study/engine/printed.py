"""Output and warnings of a trial, caught in its worker and sent with its reports."""

from __future__ import annotations

import io
import sys
from types import TracebackType
from typing import TextIO

MOST = 8000
"""Characters kept: the last ones."""


class Printed(io.TextIOBase):
    """Stand-in for stdout and stderr during a trial; remembers the end of the text.

    Catches Python's printing, warnings and logging in every thread, not the output of C libraries.
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
        """For a trial's report: {"printed": text}, or empty."""
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

"""Standard streams for a study that outlives its terminal or its pipe's reader."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class LastingStream(io.TextIOBase):
    """Writes to another stream until it fails, and from then on nowhere, silently."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._ending_quietly():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._ending_quietly():
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @contextmanager
    def _ending_quietly(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # or Python would complain as it flushes the stream at exit
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

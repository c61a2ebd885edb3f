"""Standard streams that outlive whoever reads them: a closed terminal, a reader of a pipe that has left."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class LastingStream(io.TextIOBase):
    """Writes to another stream as long as that takes it, and then to nobody, without a word."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._to_whoever_reads():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._to_whoever_reads():
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @contextmanager
    def _to_whoever_reads(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # Python flushes the stream once more when it ends, and would complain
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

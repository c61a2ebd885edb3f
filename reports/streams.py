"""Standard streams for any text: what their encoding lacks is replaced."""

from __future__ import annotations

import io
import os
import sys


def show_any_text() -> None:
    """Make stdout and stderr take every character, and be there where the process was started without them.

    A handler of errors that somebody chose, such as `PYTHONIOENCODING=ascii:xmlcharrefreplace`, is kept.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="replace"))  # noqa: SIM115 - open to the end
        elif isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")

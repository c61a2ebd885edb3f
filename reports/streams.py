"""Standard streams for any text: characters outside their encoding are replaced."""

from __future__ import annotations

import io
import os
import sys


def show_any_text() -> None:
    """Make stdout and stderr take every character, and open them if the process started without them.

    An explicit error handler, such as `PYTHONIOENCODING=ascii:xmlcharrefreplace`, is kept.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="replace"))  # noqa: SIM115 - open to the end
        elif isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")

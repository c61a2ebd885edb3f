"""Why a trial ended without a word of its own: its process was killed, or the machine had no memory left."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_RETRIES = 2  # of one point whose trials end without their own doing

_EXCEPTION = re.compile(r"[\w.]+(Error|Exception): ")  # the line of a traceback that says what was raised


@dataclass(frozen=True)
class Loss:
    """One trial's loss, for the record."""

    reason: str
    """One sentence."""
    details: str = ""
    """What the engine said, in lines."""
    retries: int = MAX_RETRIES
    """How often its point may have been asked again, this time included."""

    @classmethod
    def by_timeout(cls, seconds: float) -> Loss:
        """Of a trial that was killed because it ran for so long; it may have hung by chance once."""
        return cls(f"it ran longer than --trial-timeout allows ({seconds:g} s), and was ended", retries=1)


def loss_of(text: str) -> Loss:
    """What Ray Tune wrote of a trial that it lost: a header, and a traceback or a message."""
    _header, *lines = text.strip().splitlines()
    reason = next((line for line in reversed(lines) if _EXCEPTION.match(line)), "")
    return Loss(reason or lost_process(text), "\n".join(lines))


def lost_process(text: str) -> str:
    """A clause that says what Ray's words about a process that is gone mean to the user."""
    if "low on memory" in text or "OutOfMemory" in text:
        return "the machine ran low on memory, and Ray ended a process; lower --workers"
    return "its process was killed or crashed, most often for want of memory; lower --workers if that goes on"

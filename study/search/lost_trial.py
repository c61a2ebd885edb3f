"""Why a trial was lost: killed, out of memory, timed out."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_RETRIES = 2  # of one point, after losses that it did not cause

_EXCEPTION = re.compile(r"[\w.]+(Error|Exception): ")  # a traceback's line with the error itself


@dataclass(frozen=True)
class LostTrial:
    """The end of a trial without a report of its own, for the record."""

    reason: str
    """One sentence."""
    details: str = ""
    """The engine's text, in lines."""
    retries: int = MAX_RETRIES
    """Limit for asking its point again, this time included."""

    @classmethod
    def by_timeout(cls, seconds: float) -> LostTrial:
        """A trial killed by --trial-timeout. It may have hung by chance: one retry."""
        return cls(f"it ran longer than --trial-timeout allows ({seconds:g} s), and was ended", retries=1)

    @classmethod
    def from_tune(cls, text: str) -> LostTrial:
        """Parse Ray Tune's error file: a header, then a traceback or a message."""
        _header, *lines = text.strip().splitlines()
        reason = next((line for line in reversed(lines) if _EXCEPTION.match(line)), "")
        return cls(reason or lost_process(text), "\n".join(lines))


def lost_process(text: str) -> str:
    """Ray's message about a lost process, as a clause with a remedy."""
    if "low on memory" in text or "OutOfMemory" in text:
        return "the machine ran low on memory, and Ray ended a process; lower --workers"
    return "its process was killed or crashed, most often for want of memory; lower --workers if that goes on"

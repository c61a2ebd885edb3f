"""Lengths of time on the command line."""

from __future__ import annotations

import math
import re

from nad.errors import ConfigError

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str, option: str) -> float:
    """Seconds of a text such as 90s, 30m, 8h, 1d or 1h30m.  option: its source, for errors.

    Raises: ConfigError for anything else, and for zero.
    """
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        raise ConfigError(f"{option} {text!r} is not a duration: write 90s, 30m, 8h or 1h30m")
    seconds = sum(float(value) * _UNIT_SECONDS[unit] for value, unit in re.findall(r"(\d+(?:\.\d+)?)([smhd])", text))
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{option} {text!r} leaves no time for a trial")
    return seconds

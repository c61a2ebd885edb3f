"""Texts short enough for every database.

MySQL keeps at most 65,535 bytes of an attribute, in JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import accumulate, takewhile
from typing import Any

MOST_BYTES = 16_000
"""Of one text in JSON, at up to 12 bytes a character; an attribute may hold several texts."""


def fitted(value: Any) -> Any:
    """An attribute's value with long texts cut in the middle: their ends tell most."""
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, Mapping):
        return {name: fitted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fitted(inner) for inner in value]
    return value


def _cut(text: str) -> str:
    if len(text) * 12 <= MOST_BYTES or len(json.dumps(text)) <= MOST_BYTES:
        return text
    begin, end = _fitting(text), _fitting(text[::-1])
    return f"{text[:begin]}\n[{len(text) - begin - end:,} characters left out]\n{text[-end:]}"


def _fitting(text: str) -> int:
    """Number of first characters for half of the room, less the note."""
    sizes = accumulate(len(json.dumps(character)) - 2 for character in text[:MOST_BYTES])
    return sum(1 for _size in takewhile(lambda size: size <= MOST_BYTES // 2 - 50, sizes))

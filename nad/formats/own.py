"""Models that this tool wrote."""

from __future__ import annotations

from nad.checkpoints import Checkpoint
from nad.formats.base import Contents, Found


def read(contents: Contents) -> Found | None:
    """Safetensors with a card; a normalisation is among the weights."""
    return Found(contents.value.state) if isinstance(contents.value, Checkpoint) else None

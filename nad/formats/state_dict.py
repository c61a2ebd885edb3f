"""Weights anywhere in a file: a state dict, safetensors without a card, a whole model, or any nesting of these."""

from __future__ import annotations

from nad.formats.base import Contents, Found
from nad.formats.nesting import weights_in


def read(contents: Contents) -> Found | None:
    """Find weights; such a file says nothing of a normalisation, so the user has to."""
    found = weights_in(contents.value)
    return Found(found) if found else None

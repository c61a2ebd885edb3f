"""Weights and nothing else: a state dict, safetensors without a card, or a whole model."""

from __future__ import annotations

from nad.formats.base import Contents, Found, as_state


def read(contents: Contents) -> Found | None:
    """Find weights; such a file says nothing of a normalisation, so the user has to."""
    state = as_state(contents.value)
    return None if state is None else Found(state)

"""Weights and nothing else: a state dict, safetensors without a card, or a whole model."""

from __future__ import annotations

from nad.formats.base import Contents, Found, as_state


def read(contents: Contents) -> Found | None:
    """Nothing in such a file says whether its model expects a normalisation: the user does."""
    state = as_state(contents.value)
    return None if state is None else Found(state)

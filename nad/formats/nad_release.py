"""The released code of Neural Attention Distillation: `.pth.tar`."""

from __future__ import annotations

from collections.abc import Mapping

from nad.formats.base import Contents, Found, as_state


def read(contents: Contents) -> Found | None:
    """A pickled dict with the weights under `state_dict`, as many training loops write it.

    The released models take pixels in [0, 1], without a normalisation.
    """
    if not isinstance(contents.value, Mapping):
        return None
    state = as_state(contents.value.get("state_dict"))
    return None if state is None else Found(state)

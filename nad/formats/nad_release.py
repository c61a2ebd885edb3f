"""The released code of Neural Attention Distillation: `.pth.tar`."""

from __future__ import annotations

from collections.abc import Mapping

from nad.formats.base import Contents, Found
from nad.formats.nesting import as_state, weights_in


def read(contents: Contents) -> Found | None:
    """A pickled dict with the weights under `state_dict`, as many training loops write it.

    The released models take pixels in [0, 1], without a normalisation.
    """
    value = contents.value
    if not isinstance(value, Mapping) or as_state(value.get("state_dict")) is None:
        return None
    return Found(weights_in(value))

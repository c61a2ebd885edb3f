"""This tool's own model files."""

from __future__ import annotations

from nad import trained_on
from nad.checkpoints import Checkpoint
from nad.errors import CheckpointError
from nad.formats.base import Contents, Found
from nad.models.normalisation import KEYS


def read(contents: Contents) -> Found | None:
    """Safetensors with a card; a normalisation is among the weights.

    Raises: CheckpointError for a damaged card, or another normalisation from the user.
    """
    if not isinstance(contents.value, Checkpoint):
        return None
    state, card = contents.value
    if trained_on.KEY in card and contents.normalisation is not None and KEYS[0] not in state:
        raise CheckpointError(
            f"the model file {contents.path} says that its pixels are in [0, 1], and --victim-mean and --victim-std say"
            f" {contents.normalisation}; leave them out"
        )
    try:
        return Found({"": state}, trained_on=trained_on.from_card(card))
    except CheckpointError as error:
        raise CheckpointError(f"the model file {contents.path} cannot be used: {error}") from error

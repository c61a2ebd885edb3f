"""Input and output of a format's reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from nad.data.base import LabelledImages
from nad.models.normalisation import Normalisation
from nad.trained_on import TrainedOn


class Contents(NamedTuple):
    """A file, read but not yet understood."""

    path: Path
    value: Any
    """A Checkpoint (this tool's files), a dict of tensors (other safetensors) or the unpickled object."""
    normalisation: Normalisation | None = None
    """Given by the user, so that the reader need not know it."""


class PoisonedTest(NamedTuple):
    """Triggered test images from a model's file."""

    data: LabelledImages
    """Under their true labels, without the target class."""
    target: int


class Found(NamedTuple):
    """A reader's findings."""

    state: Mapping[str, Any]
    """Weights under the file's own names."""
    normalisation: Normalisation | None = None
    trained_on: TrainedOn = TrainedOn()
    poisoned_test: PoisonedTest | None = None
    remarks: tuple[str, ...] = ()
    """Sentences for the user."""


Reader = Callable[[Contents], Found | None]
"""None for a file of another format.  Raises: CheckpointError for an unusable file of this format."""


def as_state(value: object) -> Mapping[str, Any] | None:
    """Weights by name, of a state dict or a whole model; None for anything else."""
    if isinstance(value, nn.Module):
        return value.state_dict() or None
    if not isinstance(value, Mapping) or not value:
        return None
    names = all(isinstance(name, str) for name in value)
    return value if names and any(isinstance(weight, Tensor) for weight in value.values()) else None

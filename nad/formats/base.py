"""What a reader of a format gets, and what it gives."""

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
    """A Checkpoint where this tool wrote the file, a dict of tensors for other safetensors, else what was pickled."""
    normalisation: Normalisation | None = None
    """What the user says of it: a reader need not know it then."""


class PoisonedTest(NamedTuple):
    """Triggered test images that came with a model."""

    data: LabelledImages
    """Under their true labels, none of them the target."""
    target: int


class Found(NamedTuple):
    """What a reader has found."""

    state: Mapping[str, Any]
    """Weights under the names that they have in the file."""
    normalisation: Normalisation | None = None
    trained_on: TrainedOn = TrainedOn()
    poisoned_test: PoisonedTest | None = None
    remarks: tuple[str, ...] = ()
    """What the user should know, a sentence each."""


Reader = Callable[[Contents], Found | None]
"""None where a file is of another format.  Raises: CheckpointError for one of this format that is not usable."""


def as_state(value: object) -> Mapping[str, Any] | None:
    """Weights by name, of a state dict or of a whole model; None for anything else."""
    if isinstance(value, nn.Module):
        return value.state_dict() or None
    if not isinstance(value, Mapping) or not value:
        return None
    names = all(isinstance(name, str) for name in value)
    return value if names and any(isinstance(weight, Tensor) for weight in value.values()) else None

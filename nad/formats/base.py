"""Input and output of a format's reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nad.data.base import LabelledImages
from nad.formats.nesting import Weights
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

    weights: Mapping[str, Weights]
    """Weights under the file's own names, by their place in the file."""
    normalisation: Normalisation | None = None
    trained_on: TrainedOn = TrainedOn()
    poisoned_test: PoisonedTest | None = None
    remarks: tuple[str, ...] = ()
    """Sentences for the user."""


Reader = Callable[[Contents], Found | None]
"""None for a file of another format.  Raises: CheckpointError for an unusable file of this format."""

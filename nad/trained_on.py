"""Facts of a model's training images, from its file: size, mirroring, class names."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nad.data.base import Dataset
from nad.errors import CheckpointError, DataError

KEY = "trained_on"
"""Key in a checkpoint's card."""

NAMED = 12
"""Most classes named in an error."""


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """A model's expectations of images; None if unknown. The normalisation is among its weights."""

    image_size: int | None = None
    """Pixels a side."""
    flip: bool | None = None
    """Trained on mirrored images too."""
    class_names: tuple[str, ...] | None = None
    """In the order of its labels."""

    def card(self) -> dict[str, object]:
        """A checkpoint's card with these facts."""
        return {KEY: asdict(self)}

    def require_class_names(self, given: Sequence[str], where: str) -> None:
        """Raise DataError for class folders other than the model's, or in another order.

        Folders numbered from 0 are labels, and always fit.  where: the data's name in the error.
        """
        if self.class_names is None:
            return
        ours, theirs = [_plain(name) for name in given], [_plain(name) for name in self.class_names]
        if ours in (theirs, [str(label) for label in range(len(theirs))]):
            return
        label = next(at for at, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
        told = "are in another order than" if sorted(ours) == sorted(theirs) else "are not"
        raise DataError(
            f"the classes of {where} {told} the model's: label {label} is {given[label]!r} there and"
            f" {self.class_names[label]!r} in the model; name the folders as its classes, or number them from 0 in its"
            f" order: {_few(self.class_names)}"
        )


def of_dataset(dataset: Dataset) -> TrainedOn:
    """The facts of a model trained on this data set."""
    size = dataset.train.images.shape[-1]
    return TrainedOn(image_size=size, flip=dataset.flip, class_names=dataset.class_names)


def from_card(card: Mapping[str, Any]) -> TrainedOn:
    """The facts in a checkpoint's card; files of earlier versions have none.

    Raises: CheckpointError for facts of another type.
    """
    facts = card.get(KEY, {})
    if not isinstance(facts, Mapping):
        raise CheckpointError(_DAMAGED)
    size, flip, names = (facts.get(name) for name in ("image_size", "flip", "class_names"))
    sized = size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0)
    named = names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names))
    if not (sized and isinstance(flip, bool | None) and named):
        raise CheckpointError(_DAMAGED)
    return TrainedOn(image_size=size, flip=flip, class_names=None if names is None else tuple(names))


_DAMAGED = f"its card's facts of the training images ({KEY}) are damaged"


def _plain(name: str) -> str:
    """A numeric name without leading zeros, any other with its accents composed."""
    return str(int(name)) if name.isdecimal() else unicodedata.normalize("NFC", name)


def _few(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")

"""Common form of all data sets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nad.data.copies import first_copies
from nad.errors import DataError


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels, in one block of memory each.

    images: (count, channels, height, width) uint8, or float32 in [0, 1]. Data sets and attacks have three channels of
    uint8; training and scores take any model input.   labels: (count,) int64.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype not in (torch.uint8, torch.float32) or self.images.ndim != 4:
            raise DataError(
                "images must be uint8 or float32 of shape (count, channels, height, width),"
                f" got {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels must be int64, one per image: got {self.labels.dtype} of shape {tuple(self.labels.shape)}"
                f" for {len(self.images)} images"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Tensor) -> LabelledImages:
        """A copy of the images at these indices."""
        return LabelledImages(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """A named data set: images for training, and images for the final test alone."""

    name: str
    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    flip: bool
    """Whether a mirrored image keeps its class (False for traffic signs)."""
    remarks: tuple[str, ...] = ()
    """What the user should know of the files, a line each."""

    @cached_property
    def copies(self) -> Tensor:
        """For each training image the index of the first one of the same pixels, mostly its own; (count,) int64."""
        return first_copies(self.train.images)

    @property
    def classes(self) -> int:
        return len(self.class_names)

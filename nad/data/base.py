"""The shape in which every data set arrives."""

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

    images: (count, channels, height, width) uint8, or float32 in [0, 1]. Data sets and attacks know three channels of
    uint8 alone; training and scores take what the model does.   labels: (count,) int64.
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
        """The images at these indices, copied."""
        return LabelledImages(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """A named data set: what a victim learns from, and what nothing is ever tuned on."""

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

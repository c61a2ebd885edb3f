"""A defender's clean images: tensors or a torch Dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from nad.data.base import LabelledImages
from nad.errors import DataError

Holdout = LabelledImages | tuple[Tensor, Tensor] | Dataset[Any]
"""Clean images and their labels: two tensors, or a torch Dataset of pairs (image, label).

images: (count, channels, height, width), uint8 or floating point in [0, 1]; an item of a Dataset is one of them.
labels: integers, (count,).
"""


def as_labelled_images(holdout: Holdout) -> LabelledImages:
    """The holdout in one block of memory.

    Raises: DataError for another type, or images of different sizes or outside [0, 1].
    """
    if isinstance(holdout, LabelledImages):
        images, labels = holdout.images, holdout.labels
    elif isinstance(holdout, tuple) and len(holdout) == 2 and all(isinstance(part, Tensor) for part in holdout):
        images, labels = holdout
    elif isinstance(holdout, Dataset):
        images, labels = _stacked(holdout)
    else:
        raise DataError(
            f"a holdout is two tensors (images, labels) or a torch Dataset of pairs, got a {type(holdout).__name__}"
        )
    if images.is_floating_point():
        images = images.to(torch.float32)
        if images.numel() and not (images.min() >= 0 and images.max() <= 1):
            raise DataError(
                f"floating-point images must be in [0, 1], got {images.min():.3g} to {images.max():.3g}; if the"
                " model expects normalised images, make the normalisation its first layer"
            )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"labels must be integers, the numbers of the classes, got {labels.dtype}")
    clean = LabelledImages(images, labels.to(torch.int64))
    if len(clean) < 2:
        raise DataError(f"a holdout needs at least two images, got {len(clean)}")
    return clean


def _stacked(dataset: Dataset[Any]) -> tuple[Tensor, Tensor]:
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for index, item in enumerate(_items(dataset)):
        try:
            image, label = item
            label = torch.as_tensor(label)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"item {index} of the holdout is not a pair (image, label): {error}") from error
        if not isinstance(image, Tensor):
            raise DataError(
                f"image {index} of the holdout is a {type(image).__name__}, not a tensor; give its data set a transform"
                " such as torchvision.transforms.PILToTensor()"
            )
        if images and image.shape != images[0].shape:
            raise DataError(
                f"images of the holdout differ in size: the first has shape {tuple(images[0].shape)}, image {index} has"
                f" {tuple(image.shape)}; bring them to one size"
            )
        if labels and label.shape != labels[0].shape:
            raise DataError(
                f"label {index} of the holdout has shape {tuple(label.shape)}, the first {tuple(labels[0].shape)}; a"
                " label is one integer, the number of the class"
            )
        images.append(image)
        labels.append(label)
    if not images:
        raise DataError("a holdout needs at least two images, got 0")
    return torch.stack(images), torch.stack(labels)


def _items(dataset: Dataset[Any]) -> Iterator[Any]:
    """By index if possible: not every data set ends an iteration with IndexError."""
    if isinstance(dataset, IterableDataset):
        return iter(dataset)
    if not isinstance(dataset, Sized):
        raise DataError(
            f"the holdout, a {type(dataset).__name__}, has no length; give its class __len__, or make it an"
            " IterableDataset"
        )
    return (dataset[index] for index in range(len(dataset)))

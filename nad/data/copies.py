"""The same image twice: found by its pixels, at the size that they are used at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import chain

import torch
from torch import Tensor

NameOf = Callable[[str, int], str]
"""Names an image, for people, by its part and its index there."""


def first_copies(*parts: Tensor) -> Tensor:
    """For each image the index of the first one of the same pixels: its own, where there is none before.

    parts: (count, channels, height, width) each, counted through.  Returns (count of all,) int64.
    """
    seen: dict[bytes, int] = {}
    digests = chain.from_iterable(map(_digests, parts))
    return torch.tensor([seen.setdefault(digest, index) for index, digest in enumerate(digests)], dtype=torch.int64)


def copies_remark(train: Tensor, test: Tensor | None, name: NameOf) -> tuple[str, ...]:
    """One line on training images that repeat another or are test images too, or none."""
    total, side = len(train), train.shape[-1]
    first = first_copies(train) if test is None else first_copies(train, test)
    repeated = torch.nonzero(first[:total] != torch.arange(total)).flatten().tolist()
    leaked = torch.nonzero(first[total:] < total).flatten().tolist()
    said = []
    if leaked:
        pair = f"{name('test', leaked[0])} is {name('train', int(first[total + leaked[0]]))}"
        said.append(f"{len(leaked):,} of {len(first) - total:,} test images are training images too ({pair})")
    if repeated:
        pair = f"{name('train', repeated[0])} is {name('train', int(first[repeated[0]]))}"
        said.append(f"{len(repeated):,} of {total:,} training images repeat another ({pair})")
    return (f"the same image twice, by its pixels at {side}x{side}: {'; '.join(said)}",) if said else ()


def _digests(images: Tensor) -> Iterator[bytes]:
    return (blake2b(image, digest_size=16).digest() for image in images.contiguous().flatten(1).numpy())

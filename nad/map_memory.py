"""The teacher's attention, computed once for all erases that see the same batches.

A study draws the batches of every trial from one seed, so that its points are compared under common random numbers. The
teacher is frozen. So its attention to the first batch, the second, ... is the same in every trial that shares clean
images and Cutout, whatever the betas are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Maps = Mapping[str, Tensor]
"""Attention maps by layer, each (batch, pixels)."""


class MapMemory:
    """A teacher's attention maps by the batch's number.

    They lie in one block, made with the first map: small tensors that outlive a trial, among the large ones of its
    passes, would leave the process with gaps that it can neither use nor give back.

    layers: those whose maps are made whenever the teacher has to run, for erases that will distil others.
    most_bytes: no more is kept than this; later batches are then computed each time.
    """

    def __init__(self, layers: tuple[str, ...], most_bytes: int) -> None:
        self.layers = layers
        self.bytes = 0
        self._most_bytes = most_bytes
        self._block: Tensor | None = None
        self._kept: dict[tuple[int, float, str], Maps] = {}

    def recall(self, batch: int, power: float, operator: str, attend: Callable[[], Maps]) -> Maps:
        """The maps of a batch, from `attend` where they are not known yet."""
        key = (batch, power, operator)
        known = self._kept.get(key)
        if known is not None:
            return known
        maps = attend()
        if self.bytes + sum(values.nbytes for values in maps.values()) <= self._most_bytes:
            self._kept[key] = {layer: self._keep(values) for layer, values in maps.items()}
        return maps

    def _keep(self, values: Tensor) -> Tensor:
        """A copy at the end of what the block holds."""
        if self._block is None:
            self._block = torch.empty(self._most_bytes, dtype=torch.uint8, device=values.device)
        kept = self._block[self.bytes : self.bytes + values.nbytes].view(values.dtype).view(values.shape)
        self.bytes += values.nbytes
        return kept.copy_(values)

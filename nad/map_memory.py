"""The teacher's attention, computed once for all erases with the same batches.

A study draws the batches of every trial from one seed, for common random numbers, and the teacher is frozen. Its
attention to batch 1, 2, ... is therefore the same in every trial with the same clean images and Cutout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Maps = Mapping[str, Tensor]
"""`attention_energy` by layer, each (batch, height, width); fits a student's map of any size."""


class MapMemory:
    """A teacher's attention by batch number, in one preallocated buffer to avoid fragmentation.

    layers: the teacher's layers to map whenever it runs, for later erases with other layers.
    most_bytes: size of the buffer; batches beyond it are computed each time.
    """

    def __init__(self, layers: tuple[str, ...], most_bytes: int) -> None:
        self.layers = layers
        self.bytes = 0
        self._most_bytes = most_bytes
        self._block: Tensor | None = None
        self._kept: dict[tuple[int, float, str], Maps] = {}

    def recall(self, batch: int, power: float, operator: str, attend: Callable[[], Maps]) -> Maps:
        """A batch's maps, from `attend` if not kept yet."""
        key = (batch, power, operator)
        known = self._kept.get(key)
        if known is not None:
            return known
        maps = attend()
        if self.bytes + sum(values.nbytes for values in maps.values()) <= self._most_bytes:
            self._kept[key] = {layer: self._keep(values) for layer, values in maps.items()}
        return maps

    def _keep(self, values: Tensor) -> Tensor:
        """A copy at the end of the buffer's used part."""
        if self._block is None:
            self._block = torch.empty(self._most_bytes, dtype=torch.uint8, device=values.device)
        kept = self._block[self.bytes : self.bytes + values.nbytes].view(values.dtype).view(values.shape)
        self.bytes += values.nbytes
        return kept.copy_(values)

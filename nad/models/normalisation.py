"""Normalisation per channel as a model's first step: its input stays pixels in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nad.errors import ConfigError, require_range

LAYER = "normalise"
KEYS = (f"{LAYER}.mean", f"{LAYER}.std")
"""Additional weights of a normalised model, each of shape (3, 1, 1)."""


@dataclass(frozen=True)
class Normalisation:
    """(pixel - mean) / std, each per channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("standard deviation", self.std)):
            if len(values) != 3:
                raise ConfigError(f"a normalisation has one {name} for each of three channels, got {len(values)}")
        for mean, std in zip(self.mean, self.std, strict=True):
            require_range("a channel's mean", mean, 0.0, 1.0)
            require_range("a channel's standard deviation", std, 0.0, 10.0, low_open=True)

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:g}" for value in part) for part in (self.mean, self.std))
        return f"mean {mean} and standard deviation {std}"

    def is_close(self, other: Normalisation) -> bool:
        """Whether two say the same, but for the rounding of float32."""
        pairs = zip((*self.mean, *self.std), (*other.mean, *other.std), strict=True)
        return all(math.isclose(one, two, rel_tol=1e-5, abs_tol=1e-7) for one, two in pairs)

    def weights(self) -> dict[str, Tensor]:
        """The entries for a model's weights, under KEYS."""
        return {
            key: torch.tensor(values).view(3, 1, 1) for key, values in zip(KEYS, (self.mean, self.std), strict=True)
        }


class Normalise(nn.Module):
    """The layer: two buffers, loaded with the weights; nothing to train."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def put_in_front(model: nn.Module) -> None:
    """Normalise a model's input, with a hook.

    A wrapper would change the names of layers and weights.
    """
    model.add_module(LAYER, Normalise())
    model.register_forward_pre_hook(_normalise)


def _normalise(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    normalised: Tensor = model.get_submodule(LAYER)(inputs[0])
    return normalised

"""Base class of all models, and their common parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import nn


class DistillableModel(nn.Module):
    """Images (batch, 3, height, width) in [0, 1] to logits (batch, classes) alone; taps read the rest."""

    distillation_layers: ClassVar[tuple[str, ...]]
    """Names of the distillable layers, shallow to deep; each has a map of more than one pixel."""

    classifier: ClassVar[str] = "fc"
    """Name of the last layer, linear, from features to logits."""

    version: ClassVar[int] = 1
    """Raise it whenever a changed `forward` or other layers make another network: cached ones are trained anew then."""


def stack(
    block: Callable[[int, int, int], nn.Module], count: int, inputs: int, outputs: int, stride: int
) -> nn.Sequential:
    """Residual blocks one after another; the first changes the width, and the size by the stride."""
    return nn.Sequential(block(inputs, outputs, stride), *(block(outputs, outputs, 1) for _ in range(count - 1)))


def pair_layers(student: Sequence[str], teacher: Sequence[str]) -> dict[str, str]:
    """The teacher's layer by the student's, in the student's order; layers without a partner are left out.

    Layers of equal names are pairs. Networks without a common name are paired from the deepest layer upwards; the
    deeper network's shallow layers have no partner.
    """
    common = [layer for layer in student if layer in teacher]
    if common:
        return {layer: layer for layer in common}
    count = min(len(student), len(teacher))
    return dict(zip(student[len(student) - count :], teacher[len(teacher) - count :], strict=True))


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """He initialisation of convolutions (fan out), a uniform classifier without bias; drawn from the generator."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

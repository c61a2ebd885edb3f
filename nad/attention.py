"""Attention maps and their distance: pure functions, no model."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nad.errors import ConfigError, unknown_name
from nad.precision import widened

Operator = Literal["sum", "mean", "max"]
OPERATORS: tuple[Operator, ...] = ("sum", "mean", "max")

Convention = Literal["code", "paper"]
CONVENTIONS: tuple[Convention, ...] = ("code", "paper")

EPSILON = 1e-6

MAX_POWER = 4.0
"""Of an attention map that is distilled. With p = 10, activations around 80, which occur, leave what single precision
holds: the map is all zero then, and teaches nothing. With p = 8, those around 0.02 end under EPSILON."""


def attention_map(features: Tensor, power: float = 2.0, operator: Operator = "sum") -> Tensor:
    """Where a layer looks: channel energy |F|^power, reduced over channels, flattened, L2-normalised per image.

    A_sum is power 1 with "sum"; A_sum^p, A_mean^p and A_max^p follow. Mean differs from sum by a factor that the
    normalisation removes; it is kept since the paper names it.

    features: (batch, channel, height, width), any sign.  Returns (batch, height * width), unit norm.
    Raises: ConfigError for a 1x1 map, whose normalised value is constant and carries no gradient.
    Source: Zagoruyko & Komodakis 2017; NAD, Li et al. 2021, section 3.
    """
    return unit_map(attention_energy(features, power, operator))


def attention_energy(features: Tensor, power: float = 2.0, operator: Operator = "sum") -> Tensor:
    """An attention map before it is flattened and normalised.

    features: (batch, channel, height, width), any sign.  Returns (batch, height, width), not negative.
    """
    features = widened(features)
    energy = features.square() if power == 2.0 else features.abs().pow(power)
    if operator == "sum":
        return energy.sum(dim=1)
    if operator == "mean":
        return energy.mean(dim=1)
    if operator == "max":
        return energy.amax(dim=1)
    raise unknown_name("attention operator", operator, OPERATORS)


def unit_map(energy: Tensor) -> Tensor:
    """The energy of each image, flattened and L2-normalised.

    energy: (batch, height, width), not negative.  Returns (batch, height * width), unit norm.
    Raises: ConfigError for a 1x1 map.
    Differs: a norm is taken to be EPSILON at least; the released code adds EPSILON to it.
    """
    if energy.shape[1] * energy.shape[2] == 1:
        raise ConfigError(
            "a 1x1 attention map is constant and teaches nothing: distil a layer before the global pooling"
        )
    return F.normalize(energy.flatten(1), dim=1, eps=EPSILON)


def of_equal_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both energies, averaged over windows to the smaller height and width; as they are where these are equal.

    student, teacher: (batch, height, width), each of its own size.
    Source: the NAD paper pairs networks of several depths and widths; that unequal maps are averaged is our reading.
    """
    if student.shape[1:] == teacher.shape[1:]:
        return student, teacher
    height, width = (min(sides) for sides in zip(student.shape[1:], teacher.shape[1:], strict=True))
    return F.adaptive_avg_pool2d(student, (height, width)), F.adaptive_avg_pool2d(teacher, (height, width))


def attention_distance(student: Tensor, teacher: Tensor, convention: Convention = "code") -> Tensor:
    """How far apart two batches of attention maps are, as a scalar.

    "code":  the squared difference, averaged over images and pixels (the released code).
    "paper": the L2 norm of each image's difference, averaged over images (the paper's formula).
    A beta means different things under the two; this project gives betas for "code".

    student, teacher: (batch, pixels), unit norm.
    """
    difference = student - teacher
    if convention == "code":
        return difference.square().mean()
    if convention == "paper":
        norms: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return norms.mean()
    raise unknown_name("distance convention", convention, CONVENTIONS)

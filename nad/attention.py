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
"""Largest power of a distilled map. At p = 10, activations around 80 occur and overflow single precision: the map is
all zero and teaches nothing. At p = 8, activations around 0.02 end under EPSILON."""


def attention_map(features: Tensor, power: float = 2.0, operator: Operator = "sum") -> Tensor:
    """Attention map: channel energy |F|^power, reduced over channels, flattened, L2-normalised per image.

    A_sum is power 1 with "sum"; A_sum^p, A_mean^p and A_max^p follow. Mean is sum times a factor, removed by the
    normalisation; it is offered because the paper names it.

    features: (batch, channel, height, width), any sign.  Returns (batch, height * width), unit norm.
    Raises: ConfigError for a 1x1 map: normalised, it is constant and has no gradient.
    Source: Zagoruyko & Komodakis 2017; NAD, Li et al. 2021, section 3.
    """
    return unit_map(attention_energy(features, power, operator))


def attention_energy(features: Tensor, power: float = 2.0, operator: Operator = "sum") -> Tensor:
    """An attention map before flattening and normalisation.

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
    """Energy of each image, flattened and L2-normalised.

    energy: (batch, height, width), not negative.  Returns (batch, height * width), unit norm.
    Raises: ConfigError for a 1x1 map.
    Differs: the norm is at least EPSILON; the released code adds EPSILON to it.
    """
    if energy.shape[1] * energy.shape[2] == 1:
        raise ConfigError(
            "a 1x1 attention map is constant and teaches nothing: distil a layer before the global pooling"
        )
    return F.normalize(energy.flatten(1), dim=1, eps=EPSILON)


def of_equal_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both energies, averaged over windows to the smaller height and width; unchanged if equal.

    student, teacher: (batch, height, width), each of its own size.
    Source: the NAD paper pairs networks of several depths and widths; averaging unequal maps is our reading.
    """
    if student.shape[1:] == teacher.shape[1:]:
        return student, teacher
    height, width = (min(sides) for sides in zip(student.shape[1:], teacher.shape[1:], strict=True))
    return F.adaptive_avg_pool2d(student, (height, width)), F.adaptive_avg_pool2d(teacher, (height, width))


def attention_distance(student: Tensor, teacher: Tensor, convention: Convention = "code") -> Tensor:
    """Distance of two batches of attention maps, a scalar.

    "code":  the squared difference, averaged over images and pixels (the released code).
    "paper": the L2 norm of each image's difference, averaged over images (the paper's formula).
    A beta depends on the convention; this project gives betas for "code".

    student, teacher: (batch, pixels), unit norm.
    """
    difference = student - teacher
    if convention == "code":
        return difference.square().mean()
    if convention == "paper":
        norms: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return norms.mean()
    raise unknown_name("distance convention", convention, CONVENTIONS)

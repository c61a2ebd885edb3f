"""Attention maps and their distance: pure functions, no model."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nad.errors import ConfigError, unknown_name

Operator = Literal["sum", "mean", "max"]
OPERATORS: tuple[Operator, ...] = ("sum", "mean", "max")

Convention = Literal["code", "paper"]
CONVENTIONS: tuple[Convention, ...] = ("code", "paper")

EPSILON = 1e-6


def attention_map(features: Tensor, power: float = 2.0, operator: Operator = "sum") -> Tensor:
    """Where a layer looks: channel energy |F|^power, reduced over channels, flattened, L2-normalised per image.

    A_sum is power 1 with "sum"; A_sum^p, A_mean^p and A_max^p follow. Mean differs from sum by a factor that the
    normalisation removes; it is kept since the paper names it.

    features: (batch, channel, height, width), any sign.  Returns (batch, height * width), unit norm.
    Raises: ConfigError for a 1x1 map, whose normalised value is constant and carries no gradient.
    Source: Zagoruyko & Komodakis 2017; NAD, Li et al. 2021, section 3.
    """
    if features.shape[2] * features.shape[3] == 1:
        raise ConfigError(
            "a 1x1 attention map is constant and teaches nothing: distil a layer before the global pooling"
        )
    energy = features.square() if power == 2.0 else features.abs().pow(power)
    if operator == "sum":
        reduced = energy.sum(dim=1)
    elif operator == "mean":
        reduced = energy.mean(dim=1)
    elif operator == "max":
        reduced = energy.amax(dim=1)
    else:
        raise unknown_name("attention operator", operator, OPERATORS)
    return torch.nn.functional.normalize(reduced.flatten(1), dim=1, eps=EPSILON)


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

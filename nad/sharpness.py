"""Adaptive sharpness-aware minimisation (SAM): the gradient at a worse point nearby.

Source: Foret et al. 2021 (SAM), Kwon et al. 2021 (adaptive SAM); as a defence: Zhu et al. 2023 (FT-SAM).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_TINY = 1e-12
"""Against a division by zero. Source: BackdoorBench."""


@contextmanager
def moved_uphill(model: nn.Module, rho: float) -> Iterator[None]:
    """Move the weights uphill while the block runs: w + rho * w^2 g / ||w g||, with g their gradients.

    The norm is over all weights with a gradient; these are put back exactly. Batch norm learns no statistics meanwhile.
    """
    gradients = {weight: weight.grad for weight in model.parameters() if weight.grad is not None}
    norms = [norm for norm in model.modules() if isinstance(norm, _BatchNorm) and norm.track_running_stats]
    kept = [weight.detach().clone() for weight in gradients]
    with torch.no_grad():
        length = torch.stack([(weight * gradient).norm() for weight, gradient in gradients.items()]).norm()
        for weight, gradient in gradients.items():
            weight.add_(rho / (length + _TINY) * weight.square() * gradient)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        with torch.no_grad():
            for weight, before in zip(gradients, kept, strict=True):
                weight.copy_(before)

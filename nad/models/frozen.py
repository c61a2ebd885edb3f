"""A model that only looks: for gradients with respect to its input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Inside the block the model is in eval mode and its parameters take no gradient; as before when it ends."""
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training
        for parameter in learnt:
            parameter.requires_grad_(True)

"""A model that only looks: at images, or for gradients with respect to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Inside the block the model is in eval mode; each of its modules is in its own mode again when it ends."""
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Inside the block the model is in eval mode and its parameters take no gradient; as before when it ends."""
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        with in_eval_mode(model):
            yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_(True)

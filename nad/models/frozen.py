"""Context managers for inference, and for gradients with respect to images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode inside the block; restore each module's mode afterwards."""
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode without parameter gradients inside the block; restore both afterwards."""
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        with in_eval_mode(model):
            yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_(True)

"""The models that can be studied. A new one is one file and one line in MODELS."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch

from nad.errors import unknown_name
from nad.models.base import DistillableModel, initialise
from nad.models.wide_resnet import WideResNet

MODELS: dict[str, Callable[..., DistillableModel]] = {
    "wrn-10-1": partial(WideResNet, 10, 1),
    "wrn-10-2": partial(WideResNet, 10, 2),
    "wrn-16-1": partial(WideResNet, 16, 1),
    "wrn-16-2": partial(WideResNet, 16, 2),
    "wrn-40-1": partial(WideResNet, 40, 1),
    "wrn-40-2": partial(WideResNet, 40, 2),
}


def make(name: str, classes: int, generator: torch.Generator | None = None) -> DistillableModel:
    """A model in channels-last layout; its weights come from the generator, or are left to be loaded.

    Raises: ConfigError for a name that MODELS does not have.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    # Skipping the default initialisation leaves the global generator alone: the draw below is the only one.
    with torch.random.fork_rng(devices=[]):
        model = MODELS[name](classes=classes)
    if generator is not None:
        initialise(model, generator)
    return model.to(memory_format=torch.channels_last)


@cache
def distillation_layers(name: str) -> tuple[str, ...]:
    """The named layers of a model that NAD can distil, shallow to deep.

    Raises: ConfigError for a name that MODELS does not have.
    """
    return make(name, classes=2).distillation_layers

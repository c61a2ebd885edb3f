"""The models that can be studied. A new one is one file and one line in MODELS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

import torch
from torch import Tensor

from nad.errors import CheckpointError, unknown_name
from nad.models.base import DistillableModel, initialise, pair_layers
from nad.models.preact_resnet import PreActResNet
from nad.models.resnet import ResNet
from nad.models.wide_resnet import WideResNet

__all__ = ["MODELS", "DistillableModel", "distillation_layers", "layer_pairs", "make", "pair_layers", "recognise"]

MODELS: dict[str, Callable[..., DistillableModel]] = {
    "wrn-10-1": partial(WideResNet, 10, 1),
    "wrn-10-2": partial(WideResNet, 10, 2),
    "wrn-16-1": partial(WideResNet, 16, 1),
    "wrn-16-2": partial(WideResNet, 16, 2),
    "wrn-40-1": partial(WideResNet, 40, 1),
    "wrn-40-2": partial(WideResNet, 40, 2),
    "preact-resnet-18": partial(PreActResNet, (2, 2, 2, 2)),
    "resnet-18": partial(ResNet, (2, 2, 2, 2)),
    "resnet-34": partial(ResNet, (3, 4, 6, 3)),
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


def recognise(state: Mapping[str, Tensor]) -> tuple[str, int]:
    """The name of the model that these weights belong to, and its number of classes: by names, shapes and types.

    Raises: CheckpointError where they are no model's in MODELS.
    """
    forms = _forms(state)
    for name in MODELS:
        of_two_classes = _forms_of_two_classes(name)
        if of_two_classes.keys() != forms.keys():
            continue
        # Of vectors, such as a bias: their length is as much memory as the file holds, whatever it claims
        lengths = {form[0][0] for key, form in forms.items() if len(form[0]) == 1 and form != of_two_classes[key]}
        classes = lengths.pop() if len(lengths) == 1 else 2
        if classes >= 2 and _forms(make(name, classes).state_dict()) == forms:
            return name, classes
    raise CheckpointError(f"its {len(state)} weights are not those of a model that is known: {', '.join(MODELS)}")


Forms = dict[str, tuple[tuple[int, ...], torch.dtype]]
"""Shape and type of each weight by its name."""


@cache
def _forms_of_two_classes(name: str) -> Forms:
    return _forms(make(name, 2).state_dict())


def _forms(state: Mapping[str, Tensor]) -> Forms:
    return {name: (tuple(value.shape), value.dtype) for name, value in state.items()}


@cache
def distillation_layers(name: str) -> tuple[str, ...]:
    """The named layers of a model that NAD can distil, shallow to deep.

    Raises: ConfigError for a name that MODELS does not have.
    """
    return make(name, classes=2).distillation_layers


def layer_pairs(student: str, teacher: str) -> dict[str, str]:
    """By the names of two models, the teacher's layer for each of the student's that has one: see `pair_layers`.

    Raises: ConfigError for a name that MODELS does not have.
    """
    return pair_layers(distillation_layers(student), distillation_layers(teacher))

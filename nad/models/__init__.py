"""The models by name. A new one is a file with a `DistillableModel`, and one line in MODELS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

import torch
from torch import Tensor

from nad.errors import CheckpointError, ConfigError, unknown_name
from nad.models import normalisation
from nad.models.base import DistillableModel, initialise, pair_layers
from nad.models.preact_resnet import PreActResNet
from nad.models.recognition import Fit, Form, few, fit, forms_of
from nad.models.resnet import ResNet
from nad.models.wide_resnet import WideResNet
from nad.seeds import drawn_from, torch_seeded

__all__ = [
    "ANY_NETWORK",
    "MODELS",
    "DistillableModel",
    "distillation_layers",
    "identity",
    "layer_pairs",
    "make",
    "pair_layers",
    "recognise",
    "require_name",
    "with_weights",
]

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


ANY_NETWORK = "nad.erase erases any network with named layers, from Python: see docs/python.md"
"""The remedy for an architecture that is none of MODELS."""


def require_name(name: str) -> None:
    """Raise ConfigError for a name that MODELS does not have."""
    if name not in MODELS:
        raise ConfigError(f"{unknown_name('model', name, MODELS)}; {ANY_NETWORK}")


def make(name: str, classes: int, generator: torch.Generator | None = None) -> DistillableModel:
    """A model in channels-last layout, with weights from the generator, or still to be loaded.

    Raises: ConfigError for an unknown name, or a constructor with other required arguments than `classes`.
    """
    require_name(name)
    # constructors draw from torch's own generator: weights outside `initialise` are seeded too
    with torch_seeded(0 if generator is None else drawn_from(generator), torch.device("cpu")):
        try:
            model = MODELS[name](classes=classes)
        except TypeError as error:
            raise ConfigError(f"the model {name!r} cannot be made with classes={classes} alone: {error}") from error
    if generator is not None:
        initialise(model, generator)
    return model.to(memory_format=torch.channels_last)


def with_weights(name: str, classes: int, state: Mapping[str, Tensor]) -> DistillableModel:
    """A model with these weights, behind their normalisation if they have one.

    Raises: ConfigError for an unknown name.
    """
    model = make(name, classes)
    if normalisation.KEYS[0] in state:
        normalisation.put_in_front(model)
    model.load_state_dict(state)
    return model


def recognise(state: Mapping[str, Tensor], name: str | None = None) -> tuple[str, int]:
    """The model's name and number of classes, from the weights' names, shapes and types.

    name: the only model allowed; by default any of MODELS.
    Raises: CheckpointError for weights of another model, with the nearest one and the differences; ConfigError for an
    unknown name.
    """
    if name is not None:
        require_name(name)
    given = forms_of(state)

    def compared(with_model: str) -> Fit:
        return fit(given, with_model, partial(_forms, with_model))

    asked = None if name is None else compared(name)
    if asked is not None and asked.belongs:
        return asked.model, asked.classes
    fits = [compared(known) for known in MODELS]
    nearest = max(fits, key=lambda one: (one.belongs, one.likeness))
    if nearest.grey is not None:
        raise CheckpointError(_for_grey(nearest.model, nearest.grey))
    if asked is not None:
        raise CheckpointError(f"its {len(state)} weights are not {asked.model}'s: {asked}{_instead(nearest, asked)}")
    if nearest.belongs:
        return nearest.model, nearest.classes
    if not nearest.shared:
        raise CheckpointError(
            f"its {len(state)} weights are not those of a known model: {', '.join(MODELS)}; their names are"
            f" {few(tuple(given)) or 'none'}, those of {nearest.model} {few(nearest.missing)}; {ANY_NETWORK}"
        )
    raise CheckpointError(
        f"its {len(state)} weights are not those of a known model; the nearest is {nearest.model}: {nearest};"
        f" {ANY_NETWORK}"
    )


def _instead(nearest: Fit, asked: Fit) -> str:
    """Hint at the nearest model, after a request for another."""
    if nearest.belongs:
        return f"; they are those of {nearest.model}: give --model {nearest.model}, or leave it out"
    if nearest.model == asked.model or not nearest.shared:
        return f"; {ANY_NETWORK}"
    return f"; the nearest is {nearest.model}: {nearest}; {ANY_NETWORK}"


def _for_grey(model: str, weight: str) -> str:
    return (
        f"it is a {model} for images of one channel, and images here have three; spread its first layer over three, at"
        f" a third each, and save it again: state[{weight!r}] = state[{weight!r}].repeat(1, 3, 1, 1) / 3"
    )


@cache
def _forms(name: str, classes: int) -> dict[str, Form]:
    """Forms of a model's weights, without memory for them."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return forms_of(MODELS[name](classes=classes).state_dict())


@cache
def identity(name: str) -> str:
    """A model's name in records and cache keys: with its version from the second on.

    Raises: ConfigError for an unknown name.
    """
    version = getattr(make(name, classes=2), "version", 1)
    return name if version == 1 else f"{name}, version {version}"


@cache
def distillation_layers(name: str) -> tuple[str, ...]:
    """Names of a model's distillable layers, shallow to deep.

    Raises: ConfigError for an unknown name, or a model without such layers.
    """
    layers: tuple[str, ...] = getattr(make(name, classes=2), "distillation_layers", ())
    if not layers:
        raise ConfigError(f"the model {name!r} names no distillation_layers; without one there is nothing to distil")
    return layers


def layer_pairs(student: str, teacher: str) -> dict[str, str]:
    """The teacher's layer by the student's, for two models by name; see `pair_layers`.

    Raises: ConfigError for an unknown name.
    """
    return pair_layers(distillation_layers(student), distillation_layers(teacher))

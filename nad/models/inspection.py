"""Checks of a model on two images, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nad import models
from nad.augment import to_input
from nad.data.base import LabelledImages
from nad.errors import ConfigError, DataError, require_instance
from nad.models.frozen import in_eval_mode
from nad.models.taps import tap


def require_trainable(model: nn.Module) -> None:
    """Raise ConfigError for no model, or one without trainable parameters."""
    require_instance("the model", model, nn.Module)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("the model has no trainable parameter; if they are frozen, call model.requires_grad_(True)")


def require_model(model: nn.Module, clean: LabelledImages, layers: Sequence[str], device: torch.device) -> None:
    """Raise ConfigError or DataError unless the model has logits for all labels and the layers have maps."""
    logits, features = probe(model, clean, layers, device)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ConfigError(
            f"the model returns {_described(logits)};"
            " it has to return logits (images, classes); wrap it in another module"
        )
    classes, low, high = logits.shape[1], int(clean.labels.min()), int(clean.labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"label {low if low < 0 else high} of the holdout is none of the model's classes, 0 to"
            f" {classes - 1}; number the labels as the model does"
        )
    require_maps(features, layers, clean)


def require_distillable(name: str, classes: int, images: LabelledImages, *, classifier: bool = False) -> None:
    """Raise ConfigError for a model of MODELS unfit for a study on such images.

    classifier: whether an attack is made on its features, and needs its last layer.
    """
    model = models.make(name, classes)
    require_model(model, images, models.distillation_layers(name), torch.device("cpu"))
    last = dict(model.named_modules()).get(model.classifier)
    if classifier and not isinstance(last, nn.Linear):
        raise ConfigError(
            f"the model {name!r} has no linear layer {model.classifier!r}; name its last one in `classifier`, for the"
            " attack is made on what goes into it"
        )


def probe(
    model: nn.Module, clean: LabelledImages, layers: Sequence[str], device: torch.device
) -> tuple[Any, Mapping[str, Any]]:
    """A model's return value for two images in eval mode, and the layers' outputs."""
    with torch.no_grad(), in_eval_mode(model), tap(model, layers) as features:
        try:
            returned = model(to_input(clean.images[:2], device))
        except Exception as error:  # somebody's forward may raise anything
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"the model cannot read float32 images of shape {tuple(clean.images.shape[1:])}: {reason}"
            ) from error
    return returned, features


def require_maps(features: Mapping[str, Any], layers: Iterable[str], clean: LabelledImages) -> None:
    """Raise ConfigError unless each of these layers has a map of more than one pixel."""
    height, width = clean.images.shape[2:]
    for layer in layers:
        if layer not in features:
            raise ConfigError(f"the layer {layer!r} is not used in the model's forward pass; distil another")
        values = features[layer]
        if not isinstance(values, Tensor) or values.ndim != 4:
            raise ConfigError(
                f"the layer {layer!r} gives {_described(values)}, not (images, channels, height, width); distil another"
            )
        if values.shape[2] * values.shape[3] == 1:
            raise ConfigError(
                f"the layer {layer!r} gives 1x1 maps of images of {height}x{width} pixels: their attention loss is"
                " always zero; distil one before the global pooling, or give larger images"
            )


def _described(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"

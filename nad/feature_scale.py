"""Scale of a model's features, for the strength of distillation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nad.augment import to_input
from nad.devices import device_of
from nad.errors import ConfigError
from nad.evaluation import AT_ONCE
from nad.models.frozen import in_eval_mode
from nad.models.taps import tap
from nad.threads import before_step


def feature_rms(
    model: nn.Module, images: Tensor, layers: Sequence[str], *, device: torch.device | None = None
) -> dict[str, float]:
    """Root mean square of each layer's features over all images, in eval mode; the model keeps its mode.

    images: clean, at least one; (count, channel, height, width), uint8 or float32 in [0, 1].
    device: None for the model's own.
    Raises: ConfigError for an unknown layer, or one with features that are all zero or not finite.
    """
    where = device or device_of(model)
    totals, counts = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0)
    with torch.inference_mode(), in_eval_mode(model), tap(model, layers) as features:
        for batch in torch.split(images, AT_ONCE):
            before_step()
            model(to_input(batch, where))
            for layer in layers:
                totals[layer] += float(features[layer].double().square().sum())
                counts[layer] += features[layer].numel()
    rms = {layer: math.sqrt(totals[layer] / counts[layer]) for layer in layers}
    for layer, value in rms.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(
                f"the features of layer {layer!r} have the root mean square {value:g}; distil another layer"
            )
    return rms

"""Mode connectivity repair (Zhao et al. 2020): a curve from victim to fine-tuned copy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from nad.augment import to_input
from nad.data.base import LabelledImages
from nad.defences.base import TUNING, Defence, DefenceContext, Stats
from nad.errors import require_instance, require_range
from nad.training import Loss, TrainConfig, cross_entropy

Weights = Mapping[str, Tensor]
"""Parameters by name."""

CURVE = TrainConfig(
    epochs=100, lr=0.01, schedule="one-cycle", batch_size=128, nesterov=False, weight_decay=1e-4, cutout=0
)
"""Source: authors' code: epochs, lr, batch size, weight decay.

Differs: their learning rate is constant for half of the epochs and falls linearly to a hundredth; one-cycle warms up,
and falls to zero. They decay the weights on the curve; here the middle point decays.
"""


@dataclass(frozen=True, kw_only=True)
class ModeConnectivityRepair(Defence):
    """Train the middle of a quadratic Bezier curve from the victim to its fine-tuned copy.

    Each batch of clean images meets the weights at a random place on the curve. The defended model is the one at `t`.
    Source: Zhao et al. 2020, "Bridging Mode Connectivity in Loss Landscapes and Adversarial Robustness"; the curve:
    Garipov et al. 2018.
    Differs: the paper joins two backdoored models. A defender has one, and takes its fine-tuned copy as the other end,
    as BackdoorBench does.
    """

    name: ClassVar[str] = "mode-connectivity"

    t: float = 0.3
    """Place on the curve, from the victim (0) to its fine-tuned copy (1). BackdoorBench takes 0.1."""
    curve: TrainConfig = CURVE
    tuning: TrainConfig = TUNING
    """Training of the fine-tuned copy: the NAD paper's, as for a teacher."""

    def __post_init__(self) -> None:
        require_range("t", self.t, 0.0, 1.0)
        require_instance("curve", self.curve, TrainConfig)
        require_instance("tuning", self.tuning, TrainConfig)

    def change(self, model: nn.Module, context: DefenceContext) -> Stats:
        """See `Defence.defend`. Batch-norm statistics are measured anew on the holdout."""
        start = _weights(model)
        tuned = copy.deepcopy(model)
        context.tune(tuned, self.tuning, "the fine-tuning of the curve's other end", after=self.curve.epochs)
        end = _weights(tuned)
        middle = copy.deepcopy(model)
        set_weights(middle, {name: (start[name] + end[name]) / 2 for name in start})
        bend = curve_loss(start, end, context.generator, self.curve.label_smoothing)
        context.tune(middle, self.curve, "the training of the curve", loss=bend, before=self.tuning.epochs)
        set_weights(model, on_curve(start, _weights(middle), end, self.t))
        refresh_statistics(model, context.holdout, context.device, self.curve.batch_size)
        return {"t": self.t}


def on_curve(start: Weights, middle: Weights, end: Weights, t: float) -> dict[str, Tensor]:
    """The curve's weights at t: exactly `start` at 0, exactly `end` at 1."""
    shares = (1 - t) ** 2, 2 * t * (1 - t), t**2
    return {name: shares[0] * start[name] + shares[1] * middle[name] + shares[2] * end[name] for name in start}


def curve_loss(start: Weights, end: Weights, generator: torch.Generator, smoothing: float = 0.0) -> Loss:
    """Cross-entropy, with label smoothing, at a random place of the curve; its middle is in training."""

    def loss(middle: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        t = torch.rand((), generator=generator).item()
        weights = on_curve(start, dict(middle.named_parameters()), end, t)
        return cross_entropy(partial(functional_call, middle, weights), inputs, labels, smoothing)

    return loss


def refresh_statistics(model: nn.Module, images: LabelledImages, device: torch.device, batch_size: int) -> None:
    """Reset batch norm's statistics to the mean over batches of these images, unaugmented.

    Batches are of nearly equal size: at least batch_size, or all images if there are fewer.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    model.train()
    with torch.no_grad():
        for part in images.images.tensor_split(max(1, len(images) // batch_size)):
            model(to_input(part, device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def set_weights(model: nn.Module, weights: Weights) -> None:
    """Give a model these weights; its statistics stay."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])

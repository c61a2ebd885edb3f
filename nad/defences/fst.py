"""Feature shift tuning (Min et al. 2023): fine-tune with a new classifier, pushed away from the old one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from nad.defences.base import Defence, DefenceContext, Stats
from nad.errors import ConfigError, require_instance, require_range, unknown_name
from nad.training import Loss, TrainConfig, cross_entropy

FST = TrainConfig(epochs=10, lr=0.01, schedule="cosine", batch_size=128, nesterov=False, weight_decay=0.0, cutout=0)
"""Source: paper (CIFAR-10: SGD, momentum 0.9, lr 0.01, 10 epochs) and authors' code (the rest).

Differs: the learning rate falls with each step, in the code with each epoch.
"""


@dataclass(frozen=True, kw_only=True)
class FeatureShiftTuning(Defence):
    """Draw the classifier anew, then fine-tune all layers with cross-entropy + alpha * <w, w_old>.

    w are the classifier's weights without bias. After each step they are scaled to the norm of the old ones.
    Source: Min et al. 2023, "Towards Stable Backdoor Purification through Feature Shift Tuning", algorithm 1, and its
    code. For GTSRB the paper takes alpha 0.1 and 15 epochs; for 100 and more classes alpha 0.001 and lr 0.001.
    """

    name: ClassVar[str] = "fst"

    alpha: float = 0.2
    """Weight of the product of new and old classifier. Source: paper, for CIFAR-10."""
    classifier: str | None = None
    """Name of the last linear layer; None to find it, see `last_linear`."""
    tuning: TrainConfig = FST

    def __post_init__(self) -> None:
        require_range("alpha", self.alpha, 0.0, 1000.0)
        require_instance("tuning", self.tuning, TrainConfig)

    def require_fit(self, model: nn.Module) -> None:
        """Raise ConfigError for a model without a linear layer, or without the named one."""
        last_linear(model, self.classifier)

    def change(self, model: nn.Module, context: DefenceContext) -> Stats:
        """See `Defence.defend`. Batch norm learns its statistics as in any training."""
        head = last_linear(model, self.classifier)
        old = head.weight.detach().clone()
        draw_anew(head, context.generator)
        context.tune(
            model,
            self.tuning,
            "feature shift tuning",
            loss=shift_loss(head, old, self.alpha, self.tuning.label_smoothing),
            after_step=lambda: rescale(head, old),
        )
        cosine = torch.cosine_similarity(head.weight.detach().flatten(), old.flatten(), dim=0)
        return {"classifier_cosine": round(cosine.item(), 6)}


def last_linear(model: nn.Module, name: str | None = None) -> nn.Linear:
    """The linear layer of this name; by default the one in `model.classifier`, or the last one defined.

    Raises: ConfigError if there is none.
    """
    linear = {path: module for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    if not linear:
        raise ConfigError(
            f"feature shift tuning works on a linear classifier, and {type(model).__name__} has no linear layer;"
            " choose another defence"
        )
    if name is None:
        named = getattr(model, "classifier", None)
        return linear[named] if isinstance(named, str) and named in linear else list(linear.values())[-1]
    if name not in linear:
        raise unknown_name("linear layer", name, linear)
    return linear[name]


def draw_anew(head: nn.Linear, generator: torch.Generator) -> None:
    """Weights and bias uniform within 1 / sqrt(inputs). Source: authors' code."""
    bound = head.in_features**-0.5
    with torch.no_grad():
        for values in (head.weight, head.bias):
            if values is not None:
                values.copy_(bound * (2 * torch.rand(values.shape, generator=generator) - 1))


def shift_loss(head: nn.Linear, old: Tensor, alpha: float, smoothing: float = 0.0) -> Loss:
    """Cross-entropy + alpha * <w, w_old>.  old: the classifier's former weights, (classes, features)."""

    def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(model, inputs, labels, smoothing) + alpha * (head.weight * old).sum()

    return loss


def rescale(head: nn.Linear, old: Tensor) -> None:
    """Scale the classifier's weights to the norm of the old ones."""
    with torch.no_grad():
        head.weight *= old.norm() / head.weight.norm()

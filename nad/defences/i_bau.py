"""I-BAU (Zeng et al. 2022): unlearn the worst common perturbation, by its implicit hypergradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nad.augment import to_input
from nad.defences.base import Defence, DefenceContext, Stats, require_finite
from nad.errors import require_range
from nad.models.frozen import frozen

SHARE = 0.01
"""Share of a batch's images with the perturbation, while unlearning; at least one. Source: authors' code."""
DECAY = 0.001
"""Weight of the perturbation's squared norm. Source: authors' code; likewise the two below."""
SEARCH_LR = 10.0
"""Of the search for the perturbation, by SGD."""
MAP_LR = 0.1
"""Of the gradient step that makes the perturbation a fixed point."""


class Batch(NamedTuple):
    """Clean images and labels on the device."""

    inputs: Tensor
    """(images, channels, height, width) float32."""
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class ImplicitUnlearning(Defence):
    """In rounds: find one perturbation that changes all answers, then train against it on clean labels.

    The training follows the hypergradient: it counts how the worst perturbation moves with the weights, by `depth`
    steps of a fixed-point iteration. The model stays in eval mode: batch norm keeps the victim's statistics.
    Source: Zeng et al. 2022, "Adversarial Unlearning of Backdoors via Implicit Hypergradient", and its `defense.py`.
    Differs: a batch of fewer than 100 images has one perturbed image; in the code it has none.
    """

    name: ClassVar[str] = "i-bau"

    rounds: int = 5
    """Source: authors' code and BackdoorBench; likewise depth."""
    depth: int = 5
    """Steps of the fixed-point iteration, K in the paper."""
    lr: float = 0.001
    """Of the weights, by Adam. Source: authors' code. BackdoorBench takes 0.0001."""
    batch_size: int = 100
    """Source: authors' code. BackdoorBench takes 256."""

    def __post_init__(self) -> None:
        require_range("rounds", self.rounds, 1, 1000)
        require_range("depth", self.depth, 1, 100)
        require_range("lr", self.lr, 0.0, 10.0, low_open=True)
        require_range("batch_size", self.batch_size, 1, 65536)

    def change(self, model: nn.Module, context: DefenceContext) -> Stats:
        """See `Defence.defend`. The images are used as they are, in the same batches in each round."""
        model.eval()
        parts = fixed_batches(context, self.batch_size)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimiser = torch.optim.Adam(weights, lr=self.lr)
        for turn in range(self.rounds):
            perturbation = worst_perturbation(model, parts)
            for done, part in enumerate(parts, start=turn * len(parts) + 1):
                chosen = torch.randperm(len(part.labels), generator=context.generator)
                patched = chosen[: max(1, int(SHARE * len(chosen)))]
                loss, gradients = hypergradient(model, weights, perturbation, parts[0], part, patched, self.depth)
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.grad = gradient
                optimiser.step()
                context.progress(done, self.rounds * len(parts))
            require_finite(loss.item(), f"implicit unlearning in round {turn + 1}")
        return {"perturbation_norm": round(perturbation.norm().item(), 6)}


def fixed_batches(context: DefenceContext, size: int) -> list[Batch]:
    """The whole holdout, shuffled once, unaugmented."""
    order = torch.randperm(len(context.holdout), generator=context.generator)
    parts = (context.holdout[chosen] for chosen in torch.split(order, size))
    return [Batch(to_input(part.images, context.device), part.labels.to(context.device)) for part in parts]


def worst_perturbation(model: nn.Module, parts: Sequence[Batch]) -> Tensor:
    """One pass of SGD over the images, from zero, away from the model's own answers.

    Returns (1, channels, height, width).
    """
    perturbation = torch.zeros_like(parts[0].inputs[:1])
    with frozen(model):
        for part in parts:
            perturbation.requires_grad_()
            answers = model(part.inputs).argmax(dim=1)
            (slope,) = torch.autograd.grad(inner_loss(model, perturbation, part.inputs, answers), perturbation)
            perturbation = perturbation.detach() - SEARCH_LR * slope
    return perturbation


def inner_loss(model: nn.Module, perturbation: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """What a worst perturbation minimises: minus the cross-entropy, and a little of its squared norm."""
    return DECAY * perturbation.square().sum() - F.cross_entropy(model(inputs + perturbation), labels)


def hypergradient(
    model: nn.Module,
    weights: Sequence[Tensor],
    perturbation: Tensor,
    searched: Batch,
    part: Batch,
    patched: Tensor,
    depth: int,
) -> tuple[Tensor, list[Tensor]]:
    """The loss of a partly perturbed batch, and its gradient through the perturbation's dependence on the weights.

    The perturbation p is taken for a fixed point of p - MAP_LR * dL/dp, with L the inner loss on `searched`. With
    v = sum over k < depth of (1 - MAP_LR * d2L/dp2)^k applied to the loss's gradient at p, the gradient is
    d loss/dw - MAP_LR * d/dw <dL/dp, v>.
    patched: indices of the perturbed images of `part`.
    """
    perturbation = perturbation.detach().requires_grad_()
    inputs = part.inputs.index_add(0, patched.to(part.inputs.device), perturbation.expand(len(patched), -1, -1, -1))
    loss = F.cross_entropy(model(inputs), part.labels)
    outer, *direct = torch.autograd.grad(loss, [perturbation, *weights], materialize_grads=True, allow_unused=True)
    inner = inner_loss(model, perturbation, *searched)
    (slope,) = torch.autograd.grad(inner, perturbation, create_graph=True)
    vector = outer
    for _step in range(depth - 1):
        (bend,) = torch.autograd.grad(slope, perturbation, vector, retain_graph=True)
        vector = vector - MAP_LR * bend + outer
    through = torch.autograd.grad(slope, weights, vector, materialize_grads=True, allow_unused=True)
    return loss.detach(), [first - MAP_LR * second for first, second in zip(direct, through, strict=True)]

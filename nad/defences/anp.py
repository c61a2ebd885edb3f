"""Adversarial neuron pruning (Wu & Wang 2021): prune the neurons most sensitive to small adversarial pushes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from nad.augment import Augment, to_input
from nad.data.base import LabelledImages
from nad.defences.base import Defence, DefenceContext, Stats, require_finite
from nad.errors import ConfigError, require_range
from nad.precision import Precision, autocast
from nad.training import batches

_CHECK = 50
"""Iterations between two checks of the loss, each a wait for the device."""


@dataclass(frozen=True, kw_only=True)
class AdversarialNeuronPruning(Defence):
    """Learn a mask per batch-norm channel under adversarial pushes, then prune by a threshold.

    A channel's weight w and bias b become (m + d) w and (m + x) b, with m in [0, 1] its mask. For each batch, d and x
    in [-eps, eps] are moved to raise the loss; then the masks take a step to lower the loss with and without pushes.
    Channels with a final mask at or below the threshold are pruned: their weight and bias become zero.
    Source: Wu & Wang 2021, "Adversarial Neuron Pruning Purifies Backdoored Deep Models", and its code.
    Differs: the mask acts on the bias too, to silence a pruned channel; in the paper its bias stays. Pushes start at
    zero, so that one pass gives the loss without pushes and their first step, and stay within eps; in the code they
    start at random, take a pass more, and may reach twice as far. The code shows test scores for thresholds from 0 to
    0.9; a defender has none, so there is one threshold, chosen beforehand. Each image is used once per pass through the
    holdout; the code draws with replacement.
    """

    name: ClassVar[str] = "anp"
    version: ClassVar[int] = 2

    eps: float = 0.4
    """Largest push, relative to a channel's weight and bias. Source: paper; likewise alpha, iterations and lr."""
    steps: int = 1
    """Steps of size eps / steps of a push. Source: authors' code."""
    alpha: float = 0.2
    """Weight of the loss without pushes; the loss under pushes weighs 1 - alpha."""
    iterations: int = 2000
    """Number of batches; each passes the network once, and once more for each step."""
    lr: float = 0.2
    """Of the masks, by SGD."""
    momentum: float = 0.9
    """Likewise. Source: authors' code."""
    batch_size: int = 128
    """Images of a step. Source: authors' code."""
    threshold: float = 0.2
    """Masks of at most this prune their channel."""

    def __post_init__(self) -> None:
        require_range("eps", self.eps, 0.0, 1.0)
        require_range("steps", self.steps, 1, 100)
        require_range("alpha", self.alpha, 0.0, 1.0)
        require_range("iterations", self.iterations, 1, 1_000_000)
        require_range("lr", self.lr, 0.0, 10.0, low_open=True)
        require_range("momentum", self.momentum, 0.0, 0.999)
        require_range("batch_size", self.batch_size, 2, 65536)
        require_range("threshold", self.threshold, 0.0, 0.999)

    def require_fit(self, model: nn.Module) -> None:
        """Raise ConfigError for a model without batch norm."""
        MaskedNetwork(model)

    def change(self, model: nn.Module, context: DefenceContext) -> Stats:
        """See `Defence.defend`. Masks are learnt on batch statistics; running ones stay."""
        masked = MaskedNetwork(model)
        mask = torch.ones(masked.channels, device=context.device, requires_grad=True)
        optimiser = torch.optim.SGD([mask], lr=self.lr, momentum=self.momentum)
        model.train()
        for done, batch in enumerate(islice(_endless(context, self.batch_size), self.iterations), start=1):
            where = mask.detach(), to_input(batch.images, context.device), batch.labels, context.precision
            calm, slope = masked.slope(torch.zeros(2, masked.channels, device=context.device), *where)
            loss, harmed = masked.worst_slope(slope, self.eps, self.steps, *where)
            mask.grad = (self.alpha * slope + (1 - self.alpha) * harmed).sum(dim=0)
            optimiser.step()
            with torch.no_grad():
                mask.clamp_(0, 1)
            if done % _CHECK == 0 or done == self.iterations:
                require_finite((calm + loss).item(), f"adversarial neuron pruning in iteration {done}")
                context.progress(done, self.iterations)
        pruned = masked.prune(mask.detach() <= self.threshold)
        return {"channels_pruned": pruned, "channels": masked.channels, "smallest_mask": round(mask.min().item(), 6)}


class MaskedNetwork:
    """A model with batch-norm channels scaled by masks and pushes.

    Only `prune` changes the model itself. Masks are (channels,), pushes (2, channels) for weights and biases, in the
    order of the model's batch norms.
    Raises: ConfigError for a model without batch norm.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.norms = {
            name: norm for name, norm in model.named_modules() if isinstance(norm, _BatchNorm) and norm.affine
        }
        if not self.norms:
            raise ConfigError(
                f"adversarial neuron pruning works on batch norm, and {type(model).__name__} has none with weights;"
                " choose another defence"
            )
        self.sizes = [norm.num_features for norm in self.norms.values()]
        self.channels = sum(self.sizes)
        # Copies, because a pass in train mode updates its statistics
        self._fixed = {name: value.detach() for name, value in model.named_parameters()}
        self._fixed |= {name: value.clone() for name, value in model.named_buffers()}

    def slope(
        self, push: Tensor, mask: Tensor, inputs: Tensor, labels: Tensor, precision: Precision = "float32"
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy with these masks under these pushes, and its gradient with respect to mask + push.

        mask: (channels,).  push: (2, channels), of weights and of biases.  inputs: (images, any channels, height,
        width).  labels: (images,) int64.  Returns a scalar and (2, channels).
        """
        factor = (mask + push).requires_grad_()
        scaled: dict[str, Tensor] = {}
        for (name, norm), (weight, bias) in zip(
            self.norms.items(), torch.split(factor, self.sizes, dim=1), strict=True
        ):
            scaled |= {f"{name}.weight": norm.weight.detach() * weight, f"{name}.bias": norm.bias.detach() * bias}
        with autocast(inputs.device, precision):
            loss = F.cross_entropy(functional_call(self.model, self._fixed | scaled, (inputs,)), labels)
        (slope,) = torch.autograd.grad(loss, factor)
        return loss.detach(), slope

    def worst_slope(
        self,
        slope: Tensor,
        eps: float,
        steps: int,
        mask: Tensor,
        inputs: Tensor,
        labels: Tensor,
        precision: Precision = "float32",
    ) -> tuple[Tensor, Tensor]:
        """Loss and gradient, as for `slope`, under pushes in [-eps, eps] along the gradient's sign.

        slope: the gradient without pushes, (2, channels).
        """
        push = torch.zeros_like(slope)
        for _step in range(steps):
            push = push + eps / steps * slope.sign()
            loss, slope = self.slope(push, mask, inputs, labels, precision)
        return loss, slope

    def prune(self, chosen: Tensor) -> int:
        """Silence the chosen channels, (channels,) bool; returns their number."""
        with torch.no_grad():
            for norm, channels in zip(self.norms.values(), torch.split(chosen, self.sizes), strict=True):
                norm.weight[channels] = 0
                norm.bias[channels] = 0
        return int(chosen.sum())


def _endless(context: DefenceContext, size: int) -> Iterator[LabelledImages]:
    """Batches on the device, epoch after epoch."""
    resident = LabelledImages(context.holdout.images.to(context.device), context.holdout.labels.to(context.device))
    augment = Augment(flip=context.flip, cutout=0)
    while True:
        yield from batches(resident, size, augment, context.generator)

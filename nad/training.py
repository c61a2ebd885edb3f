"""The one training loop, its settings and its schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nad.augment import Augment, to_input
from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.devices import device_of
from nad.errors import require_range, unknown_name
from nad.precision import autocast
from nad.seeds import derive, drawn_from, torch_seeded
from nad.threads import before_step

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, inputs, labels) to a scalar. Fine-tuning and distillation differ in nothing else."""


def paper_schedule(epoch: float, _epochs: int) -> float:
    """Divided by 10 after every second epoch (paper, section 4.1)."""
    return 0.1 ** (int(epoch) // 2)


def code_schedule(epoch: float, _epochs: int) -> float:
    """Full for two epochs, then a tenth of the searched lr (authors' code: 0.01)."""
    return 1.0 if epoch < 2 else 0.1


def one_cycle_schedule(epoch: float, epochs: int) -> float:
    """Linear warm-up over the first fifth, then a cosine to zero (Smith & Topin 2018)."""
    warm = 0.2 * epochs
    if epoch < warm:
        return 0.05 + 0.95 * epoch / warm
    return 0.5 * (1.0 + math.cos(math.pi * (epoch - warm) / (epochs - warm)))


def cosine_schedule(epoch: float, epochs: int) -> float:
    """A cosine from one to zero, without warm-up (BackdoorBench)."""
    return 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))


SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "paper": paper_schedule,
    "code": code_schedule,
    "one-cycle": one_cycle_schedule,
    "cosine": cosine_schedule,
}
"""(epochs done, with fractions; all epochs) to the factor on the learning rate."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one training run. The defaults are the NAD paper's fine-tuning."""

    epochs: int = 10
    lr: float = 0.1
    """Initial learning rate. Source: paper, section 4.1."""
    schedule: str = "paper"
    batch_size: int = 64
    momentum: float = 0.9
    nesterov: bool = True
    """Source: authors' code."""
    weight_decay: float = 1e-4
    cutout: int = 9
    """Side of the Cutout hole in pixels. Source: paper; the released code uses 3."""

    def __post_init__(self) -> None:
        require_range("epochs", self.epochs, 1, 1000)
        require_range("lr", self.lr, 0.0, 10.0, low_open=True)
        require_range("batch_size", self.batch_size, 2, 65536)
        require_range("momentum", self.momentum, 0.0, 0.999)
        require_range("weight_decay", self.weight_decay, 0.0, 1.0)
        require_range("cutout", self.cutout, 0, 32)
        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)


class EpochEnd(NamedTuple):
    """Figures of one finished epoch."""

    epoch: int
    """Epochs done, from 1."""
    loss: float
    """Mean over the batches; not finite once training has diverged."""


def cross_entropy(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The plain loss of fine-tuning; autocast takes it in single precision."""
    return F.cross_entropy(model(inputs), labels)


def train(
    model: nn.Module, data: LabelledImages, config: TrainConfig, context: TrainContext, *, loss: Loss = cross_entropy
) -> Iterator[EpochEnd]:
    """Train in place, one epoch per step of the iterator.

    Leaving the loop stops the training. All randomness comes from the context's generator, dropout included; torch's
    own generators keep their state. Each batch passes through the model once, in train mode (see `_to_train_mode`). The
    images move to the device once, and the CPU waits for the device only at the end of an epoch.
    """
    where = context.device or device_of(model)
    resident = LabelledImages(data.images.to(where), data.labels.to(where))
    optimiser = _optimiser(model, config)
    factor = SCHEDULES[config.schedule]
    augment = Augment(flip=context.flip, cutout=config.cutout)
    steps = math.ceil(len(data) / config.batch_size)
    layers = drawn_from(context.generator)
    for epoch in range(config.epochs):
        _to_train_mode(model)
        total, ran = torch.zeros((), device=where), 0
        with torch_seeded(derive(layers, "epoch", epoch), where):
            for step, batch in enumerate(batches(resident, config.batch_size, augment, context.generator)):
                for group in optimiser.param_groups:
                    group["lr"] = config.lr * factor(epoch + step / steps, config.epochs)
                with autocast(where, context.precision):
                    value = loss(model, to_input(batch.images, where), batch.labels)
                optimiser.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += value.detach()
                ran += 1
        # No loss sees the effect of the very last step: a model full of NaN could pass for a good one
        mean = (total / ran).item() if _is_finite(model) else math.nan
        context.progress(epoch + 1, config.epochs)
        yield EpochEnd(epoch + 1, mean)


def _optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
        weight_decay=config.weight_decay,
    )


def _is_finite(model: nn.Module) -> bool:
    """Check all weights and running statistics for NaN and infinity."""
    state = model.state_dict().values()
    floats = [values for values in state if isinstance(values, Tensor) and values.is_floating_point()]
    return bool(torch.stack([torch.isfinite(values).all() for values in floats]).all()) if floats else True


def _to_train_mode(model: nn.Module) -> None:
    """Train mode, except for frozen batch norms: their statistics stay with their frozen parameters.

    A batch norm without parameters is not frozen, and learns its statistics.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine:
            module.train(any(weights.requires_grad for weights in module.parameters()))


def batches(data: LabelledImages, size: int, augment: Augment, generator: torch.Generator) -> Iterator[LabelledImages]:
    """One epoch: every image once, in random order, augmented."""
    order = torch.randperm(len(data), generator=generator)
    for indices in torch.split(order, size):
        # Batch norm cannot learn from a single image: such a last batch is skipped
        if len(indices) > 1:
            before_step()
            batch = data[indices.to(data.labels.device, non_blocking=True)]
            yield LabelledImages(augment(batch.images, generator), batch.labels)

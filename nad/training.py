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
from nad.data.base import LabelledImages
from nad.devices import device_of
from nad.errors import require_range, unknown_name
from nad.precision import Precision, autocast
from nad.seeds import derive, drawn_from, torch_seeded
from nad.threads import before_step

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, inputs, labels) to a scalar; the only thing in which fine-tuning and distillation differ."""


def paper_schedule(epoch: float, _epochs: int) -> float:
    """Divided by 10 after every second epoch (paper, section 4.1)."""
    return 0.1 ** (int(epoch) // 2)


def code_schedule(epoch: float, _epochs: int) -> float:
    """Full for two epochs, then a tenth (authors' code, which sets 0.01 there; we keep the searched lr in force)."""
    return 1.0 if epoch < 2 else 0.1


def one_cycle_schedule(epoch: float, epochs: int) -> float:
    """Linear warm-up over the first fifth, then a cosine to zero (Smith & Topin 2018)."""
    warm = 0.2 * epochs
    if epoch < warm:
        return 0.05 + 0.95 * epoch / warm
    return 0.5 * (1.0 + math.cos(math.pi * (epoch - warm) / (epochs - warm)))


SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "paper": paper_schedule,
    "code": code_schedule,
    "one-cycle": one_cycle_schedule,
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
    """What is known after an epoch."""

    epoch: int
    """Epochs done, from 1."""
    loss: float
    """Mean over the batches that ran; not finite where training diverged."""


def cross_entropy(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The plain loss of fine-tuning; autocast takes it in single precision."""
    return F.cross_entropy(model(inputs), labels)


def train(
    model: nn.Module,
    data: LabelledImages,
    config: TrainConfig,
    *,
    flip: bool,
    generator: torch.Generator,
    loss: Loss = cross_entropy,
    device: torch.device | None = None,
    precision: Precision = "float32",
) -> Iterator[EpochEnd]:
    """Train in place, an epoch per step of the iterator: the caller watches, scores, or stops by leaving the loop.

    Batch order and augmentation come from the generator alone, and what layers such as dropout draw follows from it,
    too: torch's own generators are left as they were. The model is in train mode whenever a batch runs, see
    `_to_train_mode`, and each batch passes through it once, so that batch norm sees each batch once. The images move to
    the device once, and nothing waits for it before the end of an epoch.
    device: None for where the model is.
    precision: of the passes; weights and losses have single precision in any case.
    """
    where = device or device_of(model)
    resident = LabelledImages(data.images.to(where), data.labels.to(where))
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
        weight_decay=config.weight_decay,
    )
    factor = SCHEDULES[config.schedule]
    augment = Augment(flip=flip, cutout=config.cutout)
    steps = math.ceil(len(data) / config.batch_size)
    layers = drawn_from(generator)
    for epoch in range(config.epochs):
        _to_train_mode(model)
        total, ran = torch.zeros((), device=where), 0
        with torch_seeded(derive(layers, "epoch", epoch), where):
            for step, batch in enumerate(batches(resident, config.batch_size, augment, generator)):
                for group in optimiser.param_groups:
                    group["lr"] = config.lr * factor(epoch + step / steps, config.epochs)
                with autocast(where, precision):
                    value = loss(model, to_input(batch.images, where), batch.labels)
                optimiser.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += value.detach()
                ran += 1
        # what the last step of all breaks is seen by no loss: a model that answers with NaN would pass for a good one
        yield EpochEnd(epoch + 1, (total / ran).item() if _is_finite(model) else math.nan)


def _is_finite(model: nn.Module) -> bool:
    """Whether all weights and running statistics are."""
    state = model.state_dict().values()
    floats = [values for values in state if isinstance(values, Tensor) and values.is_floating_point()]
    return bool(torch.stack([torch.isfinite(values).all() for values in floats]).all()) if floats else True


def _to_train_mode(model: nn.Module) -> None:
    """Train mode, except for a batch norm all of whose parameters are frozen: they go with its statistics.

    One that has no parameters is not frozen, and learns its statistics.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine:
            module.train(any(weights.requires_grad for weights in module.parameters()))


def batches(data: LabelledImages, size: int, augment: Augment, generator: torch.Generator) -> Iterator[LabelledImages]:
    """One epoch: every image once, in random order, augmented."""
    order = torch.randperm(len(data), generator=generator)
    for indices in torch.split(order, size):
        # Batch norm cannot learn from one image: a last batch of one is left out of this epoch.
        if len(indices) > 1:
            before_step()
            batch = data[indices.to(data.labels.device, non_blocking=True)]
            yield LabelledImages(augment(batch.images, generator), batch.labels)

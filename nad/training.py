"""The one training loop, its settings and its schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nad.augment import Augment, to_input
from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.devices import device_of
from nad.errors import require_range, unknown_name
from nad.precision import Precision, autocast
from nad.seeds import derive, drawn_from, torch_seeded
from nad.sharpness import moved_uphill
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
    sam_rho: float = 0.0
    """Radius of adaptive SAM, 0 for none; see `nad.sharpness`. Each step passes the model twice."""
    label_smoothing: float = 0.0
    """Share of each label that the other classes get."""

    def __post_init__(self) -> None:
        require_range("epochs", self.epochs, 1, 1000)
        require_range("lr", self.lr, 0.0, 10.0, low_open=True)
        require_range("batch_size", self.batch_size, 2, 65536)
        require_range("momentum", self.momentum, 0.0, 0.999)
        require_range("weight_decay", self.weight_decay, 0.0, 1.0)
        require_range("cutout", self.cutout, 0, 32)
        require_range("sam_rho", self.sam_rho, 0.0, 100.0)
        require_range("label_smoothing", self.label_smoothing, 0.0, 0.5)
        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)


BACKDOORBENCH = TrainConfig(
    epochs=100, lr=0.01, schedule="cosine", batch_size=256, nesterov=False, weight_decay=5e-4, cutout=0
)
"""BackdoorBench's fine-tuning. Source: its `config/defense/ft/cifar10.yaml`."""


def described(config: Any) -> dict[str, Any]:
    """A dataclass's fields by name, for records and cache keys.

    SAM and label smoothing are left out where they are off: keys from before them stay valid.
    """
    later = ("sam_rho", "label_smoothing")
    return asdict(config, dict_factory=lambda items: {key: value for key, value in items if value or key not in later})


class EpochEnd(NamedTuple):
    """Figures of one finished epoch."""

    epoch: int
    """Epochs done, from 1."""
    loss: float
    """Mean over the batches; not finite once training has diverged."""


def cross_entropy(model: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The plain loss of fine-tuning; autocast takes it in single precision.

    smoothing: share of each label that the other classes get; torch's own share includes the label's class.
    """
    logits = model(inputs)
    classes = logits.shape[1]
    return F.cross_entropy(logits, labels, label_smoothing=smoothing * classes / max(1, classes - 1))


def train(
    model: nn.Module,
    data: LabelledImages,
    config: TrainConfig,
    context: TrainContext,
    *,
    loss: Loss | None = None,
    after_step: Callable[[], None] = lambda: None,
) -> Iterator[EpochEnd]:
    """Train in place, one epoch per step of the iterator.

    Leaving the loop stops the training. All randomness comes from the context's generator, dropout included; torch's
    own generators keep their state. Each batch passes through the model once, with SAM twice, in train mode (see
    `_to_train_mode`). The images move to the device once, and the CPU waits for the device only at the end of an epoch.
    loss: None for cross-entropy with the config's label smoothing.  after_step: called after each optimiser step.
    """
    loss = loss or partial(cross_entropy, smoothing=config.label_smoothing)
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
                lr, inputs = config.lr * factor(epoch + step / steps, config.epochs), to_input(batch.images, where)
                backward = partial(_backward, loss, model, inputs, batch.labels, context.precision)
                total += _step(optimiser, lr, model, backward, config.sam_rho)
                after_step()
                ran += 1
        # No loss sees the effect of the very last step: a model full of NaN could pass for a good one
        mean = (total / ran).item() if _is_finite(model) else math.nan
        context.progress(epoch + 1, config.epochs)
        yield EpochEnd(epoch + 1, mean)


def _step(
    optimiser: torch.optim.Optimizer, lr: float, model: nn.Module, backward: Callable[[], Tensor], rho: float
) -> Tensor:
    """One step of the optimiser; with rho, by the gradients uphill.  Returns the loss here."""
    for group in optimiser.param_groups:
        group["lr"] = lr
    value = backward()
    if rho:
        with moved_uphill(model, rho):
            backward()
    optimiser.step()
    return value


def _backward(loss: Loss, model: nn.Module, inputs: Tensor, labels: Tensor, precision: Precision) -> Tensor:
    """Set the gradients; returns the loss, detached."""
    with autocast(inputs.device, precision):
        value = loss(model, inputs, labels)
    model.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    return value.detach()


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

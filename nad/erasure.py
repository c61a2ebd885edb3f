"""One NAD erase: a teacher from the victim, then the victim distilled towards it.

The engine behind `nad.erase` (in `nad.any_model`), its wrapper for any model and any images.
Source: Li et al., ICLR 2021.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nad.attention import (
    CONVENTIONS,
    MAX_POWER,
    OPERATORS,
    Convention,
    Operator,
    attention_distance,
    attention_energy,
    of_equal_size,
    unit_map,
)
from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.errors import ConfigError, EraseDiverged, require_instance, require_range, unknown_name
from nad.map_memory import MapMemory, Maps
from nad.models.taps import tap
from nad.training import BACKDOORBENCH, EpochEnd, Loss, TrainConfig, cross_entropy, train

TEACHER = TrainConfig()
"""The teacher's fine-tuning: the paper's ten epochs, independent of the student's settings."""


@dataclass(frozen=True, kw_only=True)
class EraseConfig(TrainConfig):
    """Hyperparameters of one NAD erase; plain fine-tuning without layers or with every beta 0."""

    layers: tuple[str, ...] = ("group1", "group2", "group3")
    """Distillation layers by name, shallow to deep."""
    betas: tuple[float, ...] = (500.0, 1000.0, 1000.0)
    """Weight of each layer's attention loss, in the released code's convention. Source: authors' code."""
    power: float = 2.0
    """p of the attention map, up to MAX_POWER. Source: paper, section 3."""
    operator: Operator = "sum"
    convention: Convention = "code"
    patience: int | None = None
    """Stop after this many epochs without a better validation accuracy; None runs all epochs. Source: paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_instance("layers", self.layers, tuple)
        require_instance("betas", self.betas, tuple)
        for layer in self.layers:
            require_instance("a layer's name", layer, str)
        if len(self.betas) != len(self.layers):
            raise ConfigError(
                f"one beta per layer: got {len(self.betas)} betas for layers {', '.join(self.layers) or 'none'}"
            )
        for index, layer in enumerate(self.layers):
            if layer in self.layers[:index]:
                raise ConfigError(f"the layer {layer!r} is given more than once; name it once, with one beta")
        for layer, beta in zip(self.layers, self.betas, strict=True):
            require_range(f"beta of {layer}", beta, 0.0, 1e15)
        require_range("power", self.power, 0.0, MAX_POWER, low_open=True)
        if self.operator not in OPERATORS:
            raise unknown_name("attention operator", self.operator, OPERATORS)
        if self.convention not in CONVENTIONS:
            raise unknown_name("distance convention", self.convention, CONVENTIONS)
        if self.patience is not None:
            require_range("patience", self.patience, 1, 1000)

    @property
    def weights(self) -> dict[str, float]:
        """Beta by layer, for betas above 0."""
        return {layer: beta for layer, beta in zip(self.layers, self.betas, strict=True) if beta > 0}

    def twin(self) -> EraseConfig:
        """The same erase without distillation; settings of the distillation alone fall back to their defaults."""
        plain = EraseConfig()
        return replace(
            self, layers=(), betas=(), power=plain.power, operator=plain.operator, convention=plain.convention
        )


PRESETS: dict[str, EraseConfig] = {
    "paper": EraseConfig(epochs=10, schedule="paper", cutout=9),
    "code": EraseConfig(epochs=20, schedule="code", cutout=3),
    "low-lr": EraseConfig(epochs=10, lr=0.01, schedule="one-cycle", cutout=3),
    "backdoorbench": EraseConfig(**asdict(BACKDOORBENCH)),
}
"""NAD as published, as released, at a tenth of the published learning rate, and with BackdoorBench's fine-tuning.

All have the released betas: the paper's could not be checked. BackdoorBench's NAD has this optimiser and these betas,
but runs 10 epochs at a constant learning rate (`te_epochs` and `adjust_learning_rate` in its `defense/nad.py`).
"""

Watch = Callable[[int, nn.Module], float]
"""Called after each epoch with (epochs done, student); returns the validation accuracy for `patience`."""


class EraseResult(NamedTuple):
    """Epochs and losses of a distillation; the student itself was changed in place."""

    epochs: int
    """Epochs run: fewer than configured if `patience` ran out."""
    losses: tuple[float, ...]
    """Mean loss of each epoch."""


def make_teacher(
    copy: nn.Module, holdout: LabelledImages, context: TrainContext, config: TrainConfig = TEACHER
) -> tuple[float, ...]:
    """Fine-tune a copy of the victim, in place, into the teacher.

    Returns the mean loss of each epoch.
    Raises: EraseDiverged once the loss is no longer finite.
    """
    losses: list[float] = []
    for end in train(copy, holdout, config, context):
        _check_finite(end, "the teacher's fine-tuning", "a lower lr may help")
        losses.append(end.loss)
    return tuple(losses)


def distil(
    student: nn.Module,
    teacher: nn.Module | None,
    holdout: LabelledImages,
    config: EraseConfig,
    context: TrainContext,
    *,
    watch: Watch | None = None,
    pairs: Mapping[str, str] | None = None,
    memory: MapMemory | None = None,
) -> EraseResult:
    """Distil the student, in place, towards the teacher's attention on the defender's clean images.

    Each batch passes once through the student, with SAM twice, and at most once through the teacher: maps in `memory`
    are reused. SAM's step is that of the whole loss. Of two maps of different size, the larger is averaged to the
    smaller's size before both are normalised. Attention and losses are in single precision.
    teacher: stays in eval mode, unchanged; None only for fine-tuning, without layers or with every beta 0.
    pairs: the teacher's layer by the student's, if their names differ; see `pair_layers`.
    memory: shared by erases with the same teacher, holdout, batch size, Cutout and context (generator state included).
    Raises: EraseDiverged once the loss is no longer finite; ConfigError for a layer missing from either model.
    Source: Li et al. 2021, section 3.
    """
    require_watch(config, watch)
    weights, patience = config.weights, _Patience(config.patience)
    losses: list[float] = []
    with _loss_towards(teacher, student, config, pairs or {}, memory) if weights else nullcontext() as loss:
        for end in train(student, holdout, config, context, loss=loss):
            _check_finite(end, "the erase", "a lower lr or beta may help")
            losses.append(end.loss)
            if watch is not None and patience.ends(watch(end.epoch, student)):
                break
    return EraseResult(len(losses), tuple(losses))


@contextmanager
def _loss_towards(
    teacher: nn.Module | None,
    student: nn.Module,
    config: EraseConfig,
    pairs: Mapping[str, str],
    memory: MapMemory | None,
) -> Iterator[Loss]:
    """The student's loss, with both models tapped while the block runs."""
    if teacher is None:
        raise ConfigError("a distillation needs a teacher; without one, give no layers")
    teacher.eval().requires_grad_(False)
    partner = {layer: pairs.get(layer, layer) for layer in config.weights}
    attended = memory.layers if memory else tuple(partner.values())
    with tap(student, tuple(partner)) as student_features, tap(teacher, attended) as teacher_features:
        attend = _teachers_attention(teacher, teacher_features, config, memory)
        yield _distillation_loss(attend, student_features, partner, config)


class _Patience:
    """Early stopping: counts the epochs since the best accuracy."""

    def __init__(self, epochs: int | None) -> None:
        self.epochs, self.best, self.since_best = epochs, -math.inf, 0

    def ends(self, accuracy: float) -> bool:
        self.best, self.since_best = (accuracy, 0) if accuracy > self.best else (self.best, self.since_best + 1)
        return self.epochs is not None and self.since_best >= self.epochs


def require_watch(config: EraseConfig, watch: Watch | None) -> None:
    """Raise ConfigError for patience without a watch."""
    if config.patience is not None and watch is None:
        raise ConfigError("patience needs a watch that returns the validation accuracy after each epoch")


Attend = Callable[[int, Tensor], Maps]
"""(batch number from 0, inputs) to the teacher's attention maps."""


def _teachers_attention(
    teacher: nn.Module, features: Mapping[str, Tensor], config: EraseConfig, memory: MapMemory | None
) -> Attend:
    """features: the teacher's taps, filled by each pass."""

    def attend(inputs: Tensor) -> Maps:
        with torch.no_grad():
            teacher(inputs)
            return {name: attention_energy(values, config.power, config.operator) for name, values in features.items()}

    def recall(batch: int, inputs: Tensor) -> Maps:
        if memory is None:
            return attend(inputs)
        return memory.recall(batch, config.power, config.operator, lambda: attend(inputs))

    return recall


def _distillation_loss(
    attend: Attend, features: Mapping[str, Tensor], partner: Mapping[str, str], config: EraseConfig
) -> Loss:
    """features: the student's taps, filled by each pass.  partner: the teacher's layers by the student's."""
    batches = itertools.count()
    latest: tuple[Tensor, Maps] | None = None

    def maps_for(inputs: Tensor) -> Maps:
        nonlocal latest
        if latest is None or latest[0] is not inputs:  # SAM brings each batch twice
            latest = inputs, attend(next(batches), inputs)
        return latest[1]

    def loss(student: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        theirs = maps_for(inputs)
        total = cross_entropy(student, inputs, labels, config.label_smoothing)
        for layer, beta in config.weights.items():
            ours = attention_energy(features[layer], config.power, config.operator)
            ours, target = of_equal_size(ours, theirs[partner[layer]])
            total = total + beta * attention_distance(unit_map(ours), unit_map(target), config.convention)
        return total

    return loss


def _check_finite(end: EpochEnd, what: str, remedy: str) -> None:
    if not math.isfinite(end.loss):
        raise EraseDiverged(f"{what} diverged: its loss was {end.loss} in epoch {end.epoch}; {remedy}")

"""Base class of defences: a frozen config with a method for defending a victim.

A defender owns the holdout and nothing else. Images to validate on come from the holdout too, by a seeded draw; a
defence never sees the evaluation set.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, final

import torch
from torch import nn

from nad.context import TrainContext, no_progress
from nad.data.base import LabelledImages
from nad.devices import device_of, usable
from nad.errors import ConfigError, TrainingDiverged
from nad.holdout import Holdout, as_labelled_images
from nad.models.inspection import require_model, require_trainable
from nad.precision import Precision
from nad.progress import Progress
from nad.seeds import drawn_from, torch_seeded
from nad.training import Loss, TrainConfig, train

TUNING = TrainConfig()
"""The NAD paper's fine-tuning, as for a teacher; shared by the defences."""

Stats = Mapping[str, int | float]
"""Figures of a defence's work by name, such as the number of pruned channels."""


class Defended(NamedTuple):
    """The defended model and the defence's figures."""

    model: nn.Module
    """In eval mode, on the device of the defence."""
    stats: Stats


@dataclass(frozen=True, kw_only=True)
class Defence(ABC):
    """A defence; its fields are its settings.

    A new one implements `change` and has a line in DEFENCES. It implements `require_fit` too if it cannot defend every
    model.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raise it once the same settings give another model: earlier runs no longer count."""

    @final
    def defend(
        self,
        victim: nn.Module,
        holdout: Holdout,
        *,
        flip: bool,
        generator: torch.Generator,
        device: torch.device | str | None = None,
        progress: Progress | None = None,
        precision: Precision = "float32",
    ) -> Defended:
        """Defend a copy of the victim.

        The same generator state gives the same weights to the last bit. Torch's own generators keep their state.
        victim: images in [0, 1] to logits (images, classes); unchanged.
        holdout: in any form `nad.erase` takes.  device: None for the victim's own.
        flip: a mirrored image keeps its class.  precision: of the passes of its fine-tuning.
        Raises: DataError for fewer than two images or images unfit for the model; ConfigError for a model unfit for the
        defence, or a missing device; TrainingDiverged once a loss is no longer finite.
        """
        require_trainable(victim)
        where = device_of(victim) if device is None else usable(device)
        model = copy.deepcopy(victim).to(where)
        with torch_seeded(drawn_from(generator), where):
            clean = as_labelled_images(holdout)
            require_model(model, clean, (), where)
            self.require_fit(model)
            told = progress or no_progress
            stats = self.change(
                model,
                DefenceContext(
                    holdout=clean, flip=flip, generator=generator, device=where, precision=precision, progress=told
                ),
            )
        if not isinstance(stats, Mapping) or not all(isinstance(value, int | float) for value in stats.values()):
            raise ConfigError(
                f"the defence {self.name!r} returns {stats!r} from `change`; it has to return figures by name, or {{}}"
            )
        return Defended(model.eval(), stats)

    def require_fit(self, model: nn.Module) -> None:  # noqa: B027 - most work on any model
        """Raise ConfigError for a model unfit for this defence; called before any training."""

    @abstractmethod
    def change(self, model: nn.Module, context: DefenceContext) -> Stats:
        """Defend the model in place, with all randomness from the context's generator."""


@dataclass(frozen=True, kw_only=True)
class DefenceContext(TrainContext):
    """A defender's means: the holdout, and the circumstances of its trainings."""

    holdout: LabelledImages
    """The defender's clean images."""
    device: torch.device
    """The model's device."""

    def tune(
        self,
        model: nn.Module,
        config: TrainConfig,
        what: str,
        *,
        loss: Loss | None = None,
        after_step: Callable[[], None] = lambda: None,
        before: int = 0,
        after: int = 0,
    ) -> None:
        """Train on the whole holdout, in place.

        what: the training's name in errors.  loss, after_step: as for `nad.training.train`.
        before, after: epochs of the same defence's other trainings, for its progress.
        Raises: TrainingDiverged once the loss is no longer finite.
        """

        def progress(done: int, total: int) -> None:
            self.progress(before + done, before + total + after)

        circumstances = replace(self, progress=progress)
        for end in train(model, self.holdout, config, circumstances, loss=loss, after_step=after_step):
            require_finite(end.loss, f"{what} in epoch {end.epoch}")

    def divide(self, share: float) -> tuple[LabelledImages, LabelledImages]:
        """Split at random: images to work on, and this share for validation; at least one each."""
        order = torch.randperm(len(self.holdout), generator=self.generator)
        count = min(max(1, round(share * len(order))), len(order) - 1)
        return self.holdout[order[count:]], self.holdout[order[:count]]


def require_finite(loss: float, what: str) -> None:
    """Raise TrainingDiverged for an infinite loss or NaN."""
    if not math.isfinite(loss):
        raise TrainingDiverged(f"{what} diverged: its loss was {loss}; a lower lr may help")

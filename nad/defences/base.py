"""What every defence offers: a frozen config whose method turns a victim into a defended model.

A defender owns the holdout and nothing else. What a defence needs beside it, such as images to validate on, it takes
from the holdout by a seeded draw; it never sees the evaluation set.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import nn

from nad.data.base import LabelledImages
from nad.devices import device_of, usable
from nad.errors import ConfigError, TrainingDiverged
from nad.holdout import Holdout, as_labelled_images
from nad.models.inspection import require_model, require_trainable
from nad.precision import Precision
from nad.progress import Progress
from nad.seeds import drawn_from, torch_seeded
from nad.training import Loss, TrainConfig, cross_entropy, train

TUNING = TrainConfig()
"""The NAD paper's fine-tuning, as of a teacher: defences that share it differ in what they do beside it."""

Deeds = Mapping[str, int | float]
"""What a defence did, in figures by name, such as the channels that it pruned."""


class Defended(NamedTuple):
    """What a defence leaves."""

    model: nn.Module
    """In eval mode, on the device of the defence."""
    deeds: Deeds


@dataclass(frozen=True, kw_only=True)
class Defence(ABC):
    """A defence with its settings, which are its fields. A new one implements `change` and has a line in DEFENCES.

    It implements `require_fit` too where there are models that it cannot defend.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when the same settings no longer make the same of a victim: runs from before do not count then."""

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
        """A defended copy of the victim, which is not changed; bit for bit the same for the same generator state.

        victim: images in [0, 1] to logits (images, classes). Torch's own generators, from which dropout draws and the
        random transforms of a Dataset, are left as they were.
        holdout: in any form that `nad.erase` takes.  device: None for where the victim is.
        flip: whether a mirrored image keeps its class.  precision: of the passes of its fine-tuning.
        Raises: DataError for a holdout of fewer than two images, or that does not fit the model; ConfigError where the
        model lacks what the defence works on, or the device is not there; TrainingDiverged where a loss is no longer
        finite.
        """
        require_trainable(victim)
        where = device_of(victim) if device is None else usable(device)
        model = copy.deepcopy(victim).to(where)
        with torch_seeded(drawn_from(generator), where):
            clean = as_labelled_images(holdout)
            require_model(model, clean, (), where)
            self.require_fit(model)
            deeds = self.change(model, Site(clean, flip, generator, where, progress or _nobody, precision))
        if not isinstance(deeds, Mapping) or not all(isinstance(value, int | float) for value in deeds.values()):
            raise ConfigError(
                f"the defence {self.name!r} returns {deeds!r} from `change`; it has to return figures by name, or {{}}"
            )
        return Defended(model.eval(), deeds)

    def require_fit(self, model: nn.Module) -> None:  # noqa: B027 - most work on any model
        """Raise ConfigError where the model lacks what this defence works on; asked before anything is trained."""

    @abstractmethod
    def change(self, model: nn.Module, site: Site) -> Deeds:
        """Defend the model in place. All that is random comes from the site's generator."""


@dataclass(frozen=True)
class Site:
    """What a defence has to work with."""

    holdout: LabelledImages
    """The defender's clean images."""
    flip: bool
    """Whether mirrored images may be trained on."""
    generator: torch.Generator
    """Of all that is drawn at random, on the CPU."""
    device: torch.device
    """Where the model is."""
    progress: Progress
    """Called with what is done and all there is to do, in a unit of the defence's."""
    precision: Precision = "float32"
    """Of the model's passes."""

    def tune(
        self,
        model: nn.Module,
        config: TrainConfig,
        what: str,
        *,
        loss: Loss = cross_entropy,
        before: int = 0,
        after: int = 0,
    ) -> None:
        """Train on the whole holdout, in place.

        what: is trained, for the error.  before, after: epochs of the same defence's other trainings, for its progress.
        Raises: TrainingDiverged where the loss is no longer finite.
        """
        ends = train(
            model,
            self.holdout,
            config,
            flip=self.flip,
            generator=self.generator,
            loss=loss,
            device=self.device,
            precision=self.precision,
        )
        for end in ends:
            require_finite(end.loss, f"{what} in epoch {end.epoch}")
            self.progress(before + end.epoch, before + config.epochs + after)

    def divide(self, share: float) -> tuple[LabelledImages, LabelledImages]:
        """The holdout in two at random: images to work on, and this share of them to validate on.

        Either has at least one image.
        """
        order = torch.randperm(len(self.holdout), generator=self.generator)
        count = min(max(1, round(share * len(order))), len(order) - 1)
        return self.holdout[order[count:]], self.holdout[order[:count]]


def require_finite(loss: float, what: str) -> None:
    """Raise TrainingDiverged for a loss that is not."""
    if not math.isfinite(loss):
        raise TrainingDiverged(f"{what} diverged: its loss was {loss}; a lower lr may help")


def _nobody(_done: int, _total: int) -> None:
    """Nobody watches."""

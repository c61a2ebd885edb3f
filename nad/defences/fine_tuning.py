"""Fine-tuning: the baseline for every other defence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from nad.defences.base import TUNING, Defence, DefenceContext, Stats
from nad.errors import require_instance
from nad.training import BACKDOORBENCH, TrainConfig


@dataclass(frozen=True, kw_only=True)
class FineTuning(Defence):
    """Train all layers on the clean holdout with cross-entropy: NAD with beta = 0.

    Source, also of the default settings: Li et al. 2021 (NAD), section 4.1.
    """

    name: ClassVar[str] = "fine-tuning"

    tuning: TrainConfig = TUNING

    def __post_init__(self) -> None:
        require_instance("tuning", self.tuning, TrainConfig)

    def change(self, model: nn.Module, context: DefenceContext) -> Stats:
        """See `Defence.defend`. Batch norm learns its statistics as in any training."""
        context.tune(model, self.tuning, "fine-tuning")
        return {}


@dataclass(frozen=True, kw_only=True)
class BackdoorBenchTuning(FineTuning):
    """Fine-tuning by BackdoorBench's recipe: 100 epochs at a low learning rate, in batches of 256.

    Source: BackdoorBench (Wu et al. 2022), `defense/ft.py` and its configuration.
    """

    name: ClassVar[str] = "fine-tuning-backdoorbench"

    tuning: TrainConfig = BACKDOORBENCH

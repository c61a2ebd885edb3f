"""Fine-tuning: the defence that every other one has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from nad.defences.base import TUNING, Deeds, Defence, Site
from nad.errors import require_instance
from nad.training import TrainConfig


@dataclass(frozen=True, kw_only=True)
class FineTuning(Defence):
    """All layers are trained on the clean holdout with cross-entropy: NAD with beta = 0.

    Source: Li et al. 2021 (NAD), section 4.1, whose settings are the default.
    """

    name: ClassVar[str] = "fine-tuning"

    tuning: TrainConfig = TUNING

    def __post_init__(self) -> None:
        require_instance("tuning", self.tuning, TrainConfig)

    def change(self, model: nn.Module, site: Site) -> Deeds:
        """See `Defence.defend`. Batch norm learns its statistics as it does in any training."""
        site.tune(model, self.tuning, "fine-tuning")
        return {}

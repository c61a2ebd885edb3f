"""FT-SAM (Zhu et al. 2023): fine-tuning by adaptive sharpness-aware minimisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from nad.defences.fine_tuning import FineTuning
from nad.training import BACKDOORBENCH, TrainConfig

FT_SAM = replace(BACKDOORBENCH, sam_rho=2.0, label_smoothing=0.1)
"""Source: authors' code, in BackdoorBench: `config/defense/ft-sam/cifar10.yaml`."""


@dataclass(frozen=True, kw_only=True)
class SharpnessAwareTuning(FineTuning):
    """Fine-tune with each gradient taken at a worse point nearby, which shrinks a backdoor's large weights.

    Source: Zhu et al. 2023, "Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware Minimization", and its
    code.
    Differs: the learning rate is one cosine from start to end. The code steps a cosine of 100 epochs once per batch, so
    its rate swings between full and zero every 100 batches.
    """

    name: ClassVar[str] = "ft-sam"

    tuning: TrainConfig = FT_SAM
    """With sam_rho, the radius of SAM, and label_smoothing."""

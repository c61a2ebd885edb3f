"""Fine-tuning alone: learning rate, batch size, schedule, epochs and clean data.

The learning rate is the main axis: at the published 0.1 the rate alone erases BadNets and Blend on CIFAR-10, and costs
six to eight points of accuracy.

Cutout stays at the released code's 3 pixels: it was good in all our sweeps.
"""

from __future__ import annotations

from optuna.trial import BaseTrial

from nad.erasure import PRESETS, EraseConfig
from search_spaces.base import Domain, Point, SearchSpace, rounded
from search_spaces.controls import controls

CLEAN_FRACTIONS = (0.01, 0.05, 0.1, 0.2)
"""The paper's shares (section 4.4)."""

LR_RANGE = (0.003, 0.1)
"""Up to the published one."""
BATCH_SIZES = (32, 64)
"""The published one and its half. At 16 the published rate ruins GTSRB's classifier without any distillation."""
SCHEDULES = ("one-cycle", "paper", "code")
EPOCHS_RANGE = (4, 40)
"""Drawn by the logarithm: the first steps weaken the backdoor, and it comes back as the classifier recovers.

The published schedules drop their rate after two epochs. Without the two that follow, a rate of 0.1 leaves GTSRB an
ACC of 47%.
"""
CUTOUT = PRESETS["code"].cutout


def suggest(trial: BaseTrial, domain: Domain) -> Point:
    """Choose learning rate, batch size, schedule, epochs and clean data."""
    return Point(
        clean_fraction=trial.suggest_categorical("clean_fraction", domain.clean_fractions),
        erase=EraseConfig(
            layers=(),
            betas=(),
            lr=rounded(trial.suggest_float("lr", *LR_RANGE, log=True)),
            batch_size=trial.suggest_categorical("batch_size", BATCH_SIZES),
            schedule=trial.suggest_categorical("schedule", SCHEDULES),
            epochs=trial.suggest_int("epochs", *EPOCHS_RANGE, log=True),
            cutout=CUTOUT,
        ),
    )


FINE_TUNING = SearchSpace(suggest=suggest, controls=controls, clean_fractions=CLEAN_FRACTIONS, version=1)

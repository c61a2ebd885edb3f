"""The space `nad`, plus smaller batches and a one-cycle schedule for more steps.

The published schedules divide the learning rate after two epochs. With batches of 64, a twentieth of CIFAR-10 gives 80
steps until then; a twentieth of 8,000 images gives 14.
"""

from __future__ import annotations

from dataclasses import replace

from optuna.trial import BaseTrial

from nad.erasure import EraseConfig
from search_spaces import nad
from search_spaces.base import Control, Domain, Point, SearchSpace

BATCH_SIZES = (16, 32, 64)
SCHEDULES = (*nad.SCHEDULES, "one-cycle")


def suggest(trial: BaseTrial, domain: Domain) -> Point:
    """As in `nad`, plus the batch size and one more schedule."""
    point = nad.suggest(trial, domain, schedules=SCHEDULES)
    batch_size = trial.suggest_categorical("batch_size", BATCH_SIZES)
    return Point(point.clean_fraction, replace(point.erase, batch_size=batch_size))


def controls(domain: Domain) -> tuple[Control, ...]:
    """The controls of `nad`, with the published batch size."""
    published = EraseConfig().batch_size
    return tuple(Control(name, {**params, "batch_size": published}) for name, params in nad.controls(domain))


NAD_STEPS = SearchSpace(suggest=suggest, controls=controls, clean_fractions=nad.CLEAN_FRACTIONS, version=1)

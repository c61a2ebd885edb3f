"""The objectives of every study, for the sampler, the front and the plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """One score of a trial, a fraction in [0, 1], and its better direction."""

    name: str
    direction: Literal["minimize", "maximize"]
    label: str


OBJECTIVES = (
    Objective("asr", "minimize", "attack success rate"),
    Objective("acc", "maximize", "clean accuracy"),
)


OBJECTIVE_NAMES = tuple(objective.name for objective in OBJECTIVES)
"""Of a trial's values, in their order."""


def costs(values: Floats) -> Floats:
    """Scores as costs to minimise: (ASR, 1 - ACC).

    values: (n, 2), one column per entry of OBJECTIVES, fractions.  Returns (n, 2) in [0, 1].
    Raises: ValueError for another shape, a NaN, or a value outside [0, 1].
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.shape[1] != len(OBJECTIVES):
        raise ValueError(f"scores must have shape (n, {len(OBJECTIVES)}), got {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("scores must be fractions in [0, 1]; a failed trial has no scores and no costs")
    maximised = np.array([objective.direction == "maximize" for objective in OBJECTIVES])
    return np.where(maximised, 1 - values, values)

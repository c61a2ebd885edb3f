"""Search space: the hyperparameters of a study, and the points asked first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from optuna.trial import BaseTrial

from nad.erasure import EraseConfig

Params = dict[str, bool | int | float | str]
"""One point of a space, in Optuna's form."""


class Control(NamedTuple):
    """A point asked first in every study; several may share a name."""

    name: str
    params: Params


class Domain(NamedTuple):
    """A study's limits for its space."""

    layers: tuple[str, ...]
    """The model's distillation layers, shallow to deep."""
    clean_fractions: tuple[float, ...]
    """Possible shares of the training set for the defender, ascending; each needs a teacher."""


class Point(NamedTuple):
    """The setting of one trial."""

    clean_fraction: float
    """The defender's clean images, as a share of the training set."""
    erase: EraseConfig


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A search space: plain functions, so that a new one is one file."""

    suggest: Callable[[BaseTrial, Domain], Point]
    """Builds a trial's point, with every choice taken from the trial."""
    controls: Callable[[Domain], tuple[Control, ...]]
    """The points of every study before the sampler's proposals."""
    clean_fractions: tuple[float, ...]
    """The default clean fractions."""
    version: int
    """Raise it with every change in `suggest`: one record cannot hold trials of both."""

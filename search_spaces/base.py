"""What a search space is: what may vary, and the points that every study asks first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from optuna.trial import BaseTrial

from nad.erasure import EraseConfig

Params = dict[str, bool | int | float | str]
"""One point of a space, as Optuna records it."""


class Control(NamedTuple):
    """A point that every study asks first; several may share a name, such as fine-tuning at each clean fraction."""

    name: str
    params: Params


class Domain(NamedTuple):
    """What a study gives its space to vary over."""

    layers: tuple[str, ...]
    """The model's distillation layers, shallow to deep."""
    clean_fractions: tuple[float, ...]
    """Shares of the training set that the defender may own, ascending; each needs a teacher."""


class Point(NamedTuple):
    """What one trial does."""

    clean_fraction: float
    """The defender's clean images, as a share of the training set."""
    erase: EraseConfig


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A search space: plain functions, so that a new one is one file."""

    suggest: Callable[[BaseTrial, Domain], Point]
    """A trial's point, with every choice taken from the trial."""
    controls: Callable[[Domain], tuple[Control, ...]]
    """The points that every study asks first. From there the sampler takes over."""
    clean_fractions: tuple[float, ...]
    """The domain's clean fractions where the user names none."""
    version: int
    """To be raised with every change of what `suggest` draws from: one record cannot hold trials of both."""

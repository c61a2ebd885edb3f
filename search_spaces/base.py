"""Search space: the hyperparameters of a study, and the points asked first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial, FixedTrial

from nad.erasure import EraseConfig
from nad.errors import ConfigError

Params = dict[str, bool | int | float | str]
"""Values by name: a setting's, or a point's coordinates in a space."""

ALWAYS = ("lr", "batch_size", "schedule", "cutout", "epochs")
"""Training values named in every setting; others only where they are not the default."""
WHOLE = ("batch_size", "cutout", "epochs", "patience")
"""Whole numbers, which a table may have as 12.0."""


class Domain(NamedTuple):
    """A study's limits for its space."""

    layers: tuple[str, ...]
    """The model's distillation layers, shallow to deep."""
    clean_fractions: tuple[float, ...]
    """Possible shares of the training set for the defender, ascending; each needs a teacher."""
    rms: Mapping[str, float]
    """Root mean square of the victim's features on clean images, by layer."""


class Point(NamedTuple):
    """One setting: all that is searched, and nothing that is drawn."""

    clean_fraction: float
    """The defender's clean images, as a share of the training set."""
    erase: EraseConfig

    def values(self, layers: tuple[str, ...]) -> Params:
        """The setting by name, as records and reports have it; `of` is the inverse.

        layers: all of the model's distillation layers. An undistilled one has `distil_NAME` alone.
        """
        weights, plain = self.erase.weights, EraseConfig()
        other = [field.name for field in fields(EraseConfig) if field.name not in ("layers", "betas")]
        named = [name for name in other if name in ALWAYS or getattr(self.erase, name) != getattr(plain, name)]
        return {
            "clean_fraction": self.clean_fraction,
            **{f"distil_{layer}": layer in weights for layer in layers},
            **{f"beta_{layer}": beta for layer, beta in weights.items()},
            **{name: getattr(self.erase, name) for name in named},
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The setting with these values, by name; the erase's defaults for absent ones.

        Raises: ConfigError for a value out of range or a layer without beta; TypeError for an unknown name or kind.
        """
        layers = [
            name.removeprefix("distil_") for name, chosen in values.items() if name.startswith("distil_") and chosen
        ]
        rest = {name: value for name, value in values.items() if not name.startswith(("distil_", "beta_"))}
        rest |= {name: int(rest[name]) for name in WHOLE if name in rest and float(rest[name]).is_integer()}
        missing = [layer for layer in layers if f"beta_{layer}" not in values]
        if missing:
            raise ConfigError(f"the layer {missing[0]} has no beta")
        betas = tuple(float(values[f"beta_{layer}"]) for layer in layers)
        return cls(rest.pop("clean_fraction"), EraseConfig(layers=tuple(layers), betas=betas, **rest))


ROUNDING = 1e-3
"""Largest relative difference by `rounded`, and a little more."""


def rounded(value: float) -> float:
    """Four significant digits: a setting survives the way to coordinates and back unchanged."""
    return float(f"{value:.4g}")


class Control(NamedTuple):
    """A setting run first in every study, for comparison; several may share a name."""

    name: str
    point: Point


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A search space: plain functions, so that a new one is one file."""

    suggest: Callable[[BaseTrial, Domain], Point]
    """Builds a trial's setting, with every choice taken from the trial."""
    coordinates: Callable[[Point, Domain], Params] = lambda point, domain: point.values(domain.layers)
    """A setting's values under the names of `suggest`, for `locate`; more are ignored.

    Default: its own names. Fields of its EraseConfig need not be there.
    """
    controls: Callable[[Domain], tuple[Control, ...]]
    """The settings of every study before the sampler's proposals; they may lie outside the space."""
    clean_fractions: tuple[float, ...]
    """The default clean fractions."""
    version: int
    """Raise it with every change in `suggest`: one record cannot hold trials of both."""

    def locate(self, point: Point, domain: Domain) -> Params:
        """The coordinates of a setting, the inverse of `suggest`; numbers may be rounded there.

        For a setting outside the space, some are out of range or have names unknown to `suggest`.
        """
        values = self.coordinates(point, domain)
        trial = _Recorded({**vars(point.erase), **values})
        try:
            found = self.suggest(trial, domain)
        except (ConfigError, KeyError):
            return values
        return trial.asked if _alike(found, point, domain) else values


class _Recorded(FixedTrial):
    """A fixed trial with a record of what it was asked; values out of range pass."""

    def __init__(self, values: Params) -> None:
        super().__init__(values)
        self.asked: Params = {}

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        self.asked[name] = self._params[name]
        return self._params[name]


def _alike(one: Point, other: Point, domain: Domain) -> bool:
    """Equality up to rounding."""
    first, second = (point.values(domain.layers) for point in (one, other))
    return first.keys() == second.keys() and all(_equal(value, second[name]) for name, value in first.items())


def _equal(one: float | str, other: float | str) -> bool:
    close = isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=ROUNDING)
    return close or one == other

"""Hyperparameters that varied between trials, for figures and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.analysis.hyperparameter import Hyperparameter
from reports.analysis.objectives import Floats
from reports.formatting import LAYER_PREFIXES, distilled, label, layer_names, setting

OFF = "off"
"""Stands on an axis for an undistilled layer."""
LEAST_LOG_RATIO = 10.0
OFF_GAP = 0.16
"""Share of an axis between the trials without a value and the smallest value."""
MOST_TICKS = 5


class Axis(NamedTuple):
    """Places of values on an axis from 0 to 1.  positions: (n,), by trial; ticks: (position, text), rising."""

    positions: Floats
    ticks: tuple[tuple[float, str], ...]


def hyperparameters(trials: pd.DataFrame) -> tuple[Hyperparameter, ...]:
    """Those with differences between these trials: the layers' betas, shallow to deep, then the others.

    A layer's beta also stands for its switch.
    """
    params: list[dict[str, Any]] = list(trials["params"])
    every = {name: None for trial in params for name in trial}
    found = [*betas(trials)]
    for name in every:
        if not name.startswith(LAYER_PREFIXES):
            found.append(_hyperparameter(name, label(name), [trial.get(name) for trial in params]))
    return tuple(one for one in found if len(set(one.values)) > 1)


def betas(trials: pd.DataFrame) -> tuple[Hyperparameter, ...]:
    """Beta of each layer of the space; None for trials without it."""
    params: list[dict[str, Any]] = list(trials["params"])
    layers = layer_names({name: None for trial in params for name in trial})

    def beta(trial: dict[str, Any], layer: str) -> Any:
        return trial.get(f"beta_{layer}", "yes") if layer in distilled(trial) else None

    return tuple(
        _hyperparameter(f"beta_{layer}", f"β {layer}", [beta(trial, layer) for trial in params]) for layer in layers
    )


def axis(one: Hyperparameter) -> Axis:
    """An axis for its values, logarithmic from a decade on; missing values are at 0."""
    absent = one.absent
    start = OFF_GAP if absent.any() else 0.0
    off = ((0.0, OFF),) if absent.any() else ()
    if one.numeric:
        positions, ticks = _numeric_axis(one, start)
    else:
        names = sorted({value for value in one.values if isinstance(value, str)})
        places = dict(zip(names, np.linspace(start, 1, len(names)) if len(names) > 1 else [1.0], strict=True))
        positions = np.array([places.get(str(value), 0.0) for value in one.values])
        ticks = tuple((float(place), name) for name, place in places.items())
    return Axis(np.where(absent, 0.0, positions), (*off, *ticks))


def _hyperparameter(name: str, text: str, values: Sequence[Any]) -> Hyperparameter:
    """Values as text, unless all are numbers."""
    given = [value for value in values if value is not None]
    numeric = all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value) for value in given
    )
    if numeric:
        return Hyperparameter(name, text, tuple(None if value is None else float(value) for value in values))
    return Hyperparameter(name, text, tuple(None if value is None else setting(name, value) for value in values))


def _numeric_axis(one: Hyperparameter, start: float) -> tuple[Floats, tuple[tuple[float, str], ...]]:
    values = one.numbers
    known = values[~np.isnan(values)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    log = low > 0 and high / low >= LEAST_LOG_RATIO

    def place(value: Any) -> Any:
        if high == low:
            return np.full_like(value, (start + 1) / 2, dtype=float)
        share = np.log(value / low) / np.log(high / low) if log else (value - low) / (high - low)
        return start + (1 - start) * share

    levels = np.unique(known)
    ticks = levels if len(levels) <= MOST_TICKS else _round_values(low, high, log=log)
    return place(values), tuple((float(place(tick)), setting(one.name, float(tick))) for tick in ticks)


def _round_values(low: float, high: float, *, log: bool) -> Floats:
    """A few round numbers from low to high."""
    if log:
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            ticks = np.sort(np.outer(decades, steps).ravel())
            ticks = ticks[(ticks >= low) & (ticks <= high)]
            if len(ticks) <= MOST_TICKS:
                return np.asarray(ticks)
        return np.asarray(ticks[:: len(ticks) // MOST_TICKS + 1])
    step = 10.0 ** np.floor(np.log10((high - low) / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= MOST_TICKS - 1)
    return np.asarray(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step)

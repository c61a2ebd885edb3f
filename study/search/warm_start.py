"""`--warm-start DIR...`: this study asks the best settings of earlier ones; `--fork` takes all.

Only settings are taken, from the earlier study's table and summary: scores depend on attack, data set and model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FixedTrial

from nad.errors import ConfigError
from reports.analysis.frontier import Indices, fronts
from reports.analysis.objectives import Floats
from reports.files import ReportError
from reports.study_folder import read_study
from reports.trial_table import trial_costs
from search_spaces import Domain, Params, Point, SearchSpace
from study.options.paths import expanded
from study.search.queue import point_key

MOST_POINTS = 10
"""Limit of settings from all earlier studies together."""
WARM_START = "warm start: settings of earlier studies"
"""Their origin, in the words of the one who asked."""


class EarlierPoint(NamedTuple):
    """A setting, by name, and its study's folder name."""

    study: str
    setting: Params


Earlier = tuple[str, Sequence[EarlierPoint]]
"""Candidates, and where they come from."""


class WarmStart(NamedTuple):
    """points: studies and coordinates in the space, best first.  skipped: number of others, by reason."""

    points: list[tuple[str, Params]]
    skipped: Counter[str]

    def said(self, origin: str) -> str:
        """One sentence about these settings."""
        asked = f"{origin}, asked once after the controls: {len(self.points)}"
        if not self.skipped:
            return asked
        reasons = ", ".join(f"{count} with {reason}" for reason, count in self.skipped.most_common())
        return f"{asked}; skipped, unfit for this study: {self.skipped.total()} ({reasons})"


def best_of(directories: Sequence[Path], own: Path) -> list[EarlierPoint]:
    """The settings of earlier studies, best first, from each study in turn.

    own: this study's folder.
    Raises: ConfigError for a folder without a study, or this study's own.
    """
    for directory in directories:
        if expanded(directory, "--warm-start").resolve() == own:
            raise ConfigError(f"--warm-start {str(directory)!r} is this study itself; name earlier ones")
    ranked = [best_first_of(directory, "--warm-start") for directory in directories]
    return [point for point in chain.from_iterable(zip_longest(*ranked)) if point is not None]


def fitting(
    candidates: Sequence[EarlierPoint], space: SearchSpace, domain: Domain, most: int | None = None
) -> WarmStart:
    """The candidates within this space, in their order, each once; controls are left out.

    most: limit of their number.
    """
    seen = {point_key(control.point.values(domain.layers)) for control in space.controls(domain)}
    found = WarmStart([], Counter())
    for candidate in candidates:
        if len(found.points) == most:
            break
        setting, reason = _read(candidate.setting, domain)
        key = point_key(candidate.setting if setting is None else setting.values(domain.layers))
        if key in seen:
            continue
        seen.add(key)
        params, reason = ({}, reason) if setting is None else coordinates(setting, space, domain)
        if reason:
            found.skipped[reason] += 1
        else:
            found.points.append((candidate.study, params))
    return found


def _read(setting: Params, domain: Domain) -> tuple[Point | None, str]:
    """The setting, or None and why it is none for this model."""
    try:
        point = Point.of(setting)
    except (ConfigError, TypeError, KeyError) as error:
        return None, f"settings refused by the erase ({error})"
    strange = [layer for layer in point.erase.layers if layer not in domain.layers]
    return (None, f"the layer {strange[0]}, not of this model") if strange else (point, "")


def best_first_of(directory: Path, option: str) -> list[EarlierPoint]:
    """Every setting with a complete trial, best first.

    Raises: ConfigError, naming the option, without a study there.
    """
    path = expanded(directory, option).resolve()
    try:
        settings = read_study(path).settings
    except ReportError as error:
        raise ConfigError(f"{option}: {error}") from error
    params = list(settings["params"])
    return [EarlierPoint(path.name, params[index]) for index in best_first(trial_costs(settings))]


def best_first(costs: Floats) -> list[int]:
    """Indices of all points: the front, then the front of the rest, and so on.

    Within a front the two ends come first, then always the middle of the widest gap, so that any first few cover it.
    costs: (n, 2).
    """
    return [int(index) for layer in _layers(costs) for index in layer[_spread(len(layer))]]


def _layers(costs: Floats) -> Iterator[Indices]:
    """Indices of each front by rising first cost."""
    level = fronts(costs)
    for rank in range(level.max(initial=-1) + 1):
        layer = np.flatnonzero(level == rank)
        yield layer[np.argsort(costs[layer, 0], kind="stable")]


def _spread(count: int) -> list[int]:
    """0 to count - 1, ordered so that any first few are spread out."""
    order = list(dict.fromkeys([0, count - 1]))
    while len(order) < count:
        taken = sorted(order)
        low, high = max(pairwise(taken), key=lambda gap: gap[1] - gap[0])
        order.append((low + high) // 2)
    return order


def coordinates(setting: Point, space: SearchSpace, domain: Domain) -> tuple[Params, str]:
    """The setting's coordinates as the space draws them, and nothing; or none, and why it lies outside."""
    params = space.locate(setting, domain)
    trial = _Probe(dict(params))
    try:
        found = space.suggest(trial, domain)
    except _Misfit as misfit:
        return {}, str(misfit)
    except ConfigError as error:
        return {}, f"settings refused by the erase ({error})"
    if params.keys() <= trial.params.keys():
        return trial.params, ""
    drawn = found.values(domain.layers)
    other = [f"{name} {value}" for name, value in setting.values(domain.layers).items() if drawn.get(name) != value]
    return {}, f"{other[0]}, not searched here"


class _Misfit(Exception):
    pass


class _Probe(FixedTrial):
    """A fixed trial with errors for missing and bad values; Optuna's only warns."""

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self._params:
            raise _Misfit(f"no {name}")
        value = self._params[name]
        try:
            internal = distribution.to_internal_repr(value)
            fits = distribution._contains(internal)
        except ValueError:
            fits = False
        if not fits and isinstance(distribution, CategoricalDistribution):
            raise _Misfit(f"{name} {value}")
        if not fits:
            raise _Misfit(f"{name} out of range")
        self._params[name] = distribution.to_external_repr(internal)
        return super()._suggest(name, distribution)

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
    for point in candidates:
        if len(found.points) == most:
            break
        params, reason = located(point.setting, space, domain)
        key = point_key(_normal(point.setting, domain))
        if key in seen:
            continue
        seen.add(key)
        if reason is None:
            found.points.append((point.study, params))
        else:
            found.skipped[reason] += 1
    return found


def located(setting: Params, space: SearchSpace, domain: Domain) -> tuple[Params, str | None]:
    """A setting's point in the space, and None; or the setting, and the misfit."""
    try:
        point = Point.of(setting)
    except (ConfigError, TypeError, KeyError) as error:
        return setting, f"settings refused by the erase ({error})"
    strange = [layer for layer in point.erase.layers if layer not in domain.layers]
    if strange:
        return setting, f"the layer {strange[0]}, not of this model"
    return as_drawn(space.locate(point, domain), space, domain)


def _normal(setting: Params, domain: Domain) -> Params:
    """A setting with all its values, to compare; one that an erase refuses stays as it is."""
    try:
        return Point.of(setting).values(domain.layers)
    except (ConfigError, TypeError, KeyError):
        return setting


def best_first_of(directory: Path, option: str) -> list[EarlierPoint]:
    """Every setting with a complete trial, best first.

    Raises: ConfigError, naming the option, without a study there.
    """
    path = expanded(directory, option).resolve()
    try:
        settings = read_study(path).settings
    except ReportError as error:
        raise ConfigError(f"{option}: {error}") from error
    params = list(settings.table["params"])
    return [EarlierPoint(path.name, params[index]) for index in best_first(settings.costs)]


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


def as_drawn(params: Params, space: SearchSpace, domain: Domain) -> tuple[Params, str | None]:
    """These coordinates as the space draws them, and None; or unchanged, and the misfit.

    A table's 12.0 becomes 12 for a whole number.
    """
    trial = _Probe(dict(params))
    try:
        space.suggest(trial, domain)
    except _Misfit as misfit:
        return params, str(misfit)
    except ConfigError as error:
        return params, f"settings refused by the erase ({error})"
    unknown = [name for name in params if name not in trial.distributions]
    return (params, f"{unknown[0]}, not varied here") if unknown else (trial.params, None)


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

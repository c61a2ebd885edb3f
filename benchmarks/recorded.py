"""A recorded study as a table to replay, and distances between its points.

Near: Gower's distance (1971), summed. A number counts by its share of the range, logarithmic as in the space (betas,
epochs). A different choice counts 1, and so does a setting present on one side only (the beta of an unused layer).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FixedTrial

import search_spaces
from nad import models
from reports.analysis.objectives import OBJECTIVES, Floats, costs
from reports.files import read_json
from reports.trial_table import read_trials
from search_spaces import Domain, SearchSpace

RECORDED = Path(__file__).parent / "random-erases" / "trials.csv"
"""320 erases at random settings; their command is in config.json beside it."""

Params = dict[str, Any]
Distributions = dict[str, BaseDistribution]


class Table(NamedTuple):
    """A recorded study's complete trials, n of them.

    places: (n, parameters), coordinates in the space, NaN for missing parameters.  choices: (parameters,), True for
    categorical ones.  costs: (n, 2).  seconds: (n,).  room: (n,), accuracy above the constraint's.  controls: indices.
    """

    space: SearchSpace
    domain: Domain
    params: list[Params]
    distributions: list[Distributions]
    whole_space: Distributions
    places: Floats
    choices: NDArray[np.bool_]
    scores: Floats
    costs: Floats
    seconds: Floats
    room: Floats
    controls: list[int]


def read_table(path: Path) -> Table:
    """A study's table.

    Raises: ReportError if it or a file beside it differs from docs/summary.md.
    """
    trials = read_trials(path)
    summary, config = (read_json(path.with_name(name)) for name in ("summary.json", "config.json"))
    settings = config["settings"]
    space = search_spaces.get("nad-published")  # its name was "nad" when these were recorded
    fractions = tuple(settings["clean_fractions"] or space.clean_fractions)
    pairs = models.layer_pairs(summary["model"], summary.get("teacher_model", summary["model"]))
    domain = Domain(tuple(pairs), tuple(sorted(set(fractions))), dict.fromkeys(pairs, 1.0))
    complete = trials[trials["state"] == "COMPLETE"]
    scores = complete[[objective.name for objective in OBJECTIVES]].to_numpy(dtype=float)
    params = list(complete["params"])
    distributions = [_distributions(space, domain, point) for point in params]
    whole_space = {name: kind for each in distributions for name, kind in each.items()}
    return Table(
        space=space,
        domain=domain,
        params=params,
        distributions=distributions,
        whole_space=whole_space,
        places=np.array([place(point, whole_space) for point in params]),
        choices=np.array([isinstance(kind, CategoricalDistribution) for kind in whole_space.values()]),
        scores=scores,
        costs=costs(scores),
        seconds=complete["compute_seconds"].to_numpy(dtype=float),
        room=scores[:, 1] - (summary["victim"]["acc"] - summary["max_acc_drop"]),
        controls=[int(index) for index in np.flatnonzero(complete["control"] != "")],
    )


def _distributions(space: SearchSpace, domain: Domain, params: Params) -> Distributions:
    trial = FixedTrial(params)
    space.suggest(trial, domain)
    return trial.distributions


def place(params: Mapping[str, Any], whole_space: Mapping[str, BaseDistribution]) -> Floats:
    """Coordinates of a point: numbers in [0, 1] of their range, choices by index, NaN if missing."""
    return np.array([_coordinate(kind, params.get(name)) for name, kind in whole_space.items()])


def _coordinate(kind: BaseDistribution, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(kind, CategoricalDistribution):
        return float(kind.to_internal_repr(value))
    ends: Any = kind
    low, high, here = (math.log(end) if ends.log else float(end) for end in (ends.low, ends.high, value))
    return (here - low) / (high - low)


def distances(here: Floats, places: Floats, choices: NDArray[np.bool_]) -> Floats:
    """Summed Gower distances of one place to all.  here: (parameters,).  Returns (n,)."""
    gaps = np.abs(places - here)
    gaps = np.where(choices, np.minimum(gaps, 1.0), gaps)
    lacking = np.isnan(places).astype(float) + np.isnan(here)
    return np.asarray(np.where(np.isnan(gaps), lacking % 2, gaps).sum(axis=1))

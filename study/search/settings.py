"""A study's erases by setting and draw: what the allocation rule and the sampler look at."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from reports.analysis.estimates import Estimates, estimate
from reports.analysis.frontier import Indices
from reports.analysis.objectives import OBJECTIVE_NAMES, Floats
from study.search.queue import DIVERGED, point_key

SETTING, DRAW = "setting", "draw"
"""User attributes of every trial: its setting, by name; its draw, from 0."""
MOST_FAILURES = 3
"""Of one setting on one draw; then the draw counts as taken."""
ESTIMATED = (*OBJECTIVE_NAMES, "balanced_acc")
"""Columns of the scores."""


def setting_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's setting; of an earlier version's, its parameters."""
    return dict(trial.user_attrs.get(SETTING, trial.params))


def draw_of(trial: FrozenTrial) -> int:
    """A trial's draw; earlier versions repeated a setting on one draw, under other seeds."""
    return int(trial.user_attrs.get(DRAW, trial.user_attrs.get("replicate", 0)))


class Erases(NamedTuple):
    """Complete erases, in the order of their trials."""

    scores: Floats
    """(n, 3), columns of ESTIMATED; balanced accuracy may be NaN."""
    setting: Indices
    """(n,) number of the first trial of the same setting."""
    draw: Indices
    """(n,)"""


class SettingTable:
    """A study's settings, their draws and scores.

    A setting with a diverged erase keeps its draws, but has no scores: it is neither repeated nor recommended.
    """

    def __init__(self, trials: Iterable[FrozenTrial] = ()) -> None:
        self.first: dict[int, FrozenTrial] = {}
        """First complete trial of each setting, by the setting's number."""
        self.inside: set[int] = set()
        """Those of `first` that lie inside the search space."""
        self.failing: set[int] = set()
        """Settings with a draw that failed again and again."""
        self._ids: dict[str, int] = {}
        self._taken: dict[int, set[int]] = {}
        self._running: dict[int, tuple[int, int]] = {}
        self._scores: dict[int, tuple[int, int, tuple[float, ...]]] = {}
        self._failures: Counter[tuple[int, int]] = Counter()
        self._diverged: set[int] = set()
        self._estimates: Estimates | None = None
        for trial in trials:
            if trial.state is not TrialState.WAITING:
                self._add(trial)

    def _add(self, trial: FrozenTrial) -> None:
        self.begin(trial.number, setting_of(trial), draw_of(trial))
        self.end(trial)

    def begin(self, number: int, setting: Mapping[str, Any], draw: int | None = None) -> tuple[int, int]:
        """The setting's number and the draw of a trial that starts.  draw: default: its next free one."""
        found = self._ids.setdefault(point_key(setting), number)
        taken = self._taken.setdefault(found, set())
        draw = self.next_draw(found) if draw is None else draw
        taken.add(draw)
        self._running[number] = found, draw
        return found, draw

    def number_of(self, trial: FrozenTrial) -> int:
        """The number of a trial's setting: of its first complete trial, or of its first one without any."""
        found = self._ids[point_key(setting_of(trial))]
        return self.first[found].number if found in self.first else found

    def next_draw(self, setting: int) -> int:
        """A setting's lowest free draw."""
        taken = self._taken.get(setting, set())
        return next(draw for draw in range(len(taken) + 1) if draw not in taken)

    def end(self, trial: FrozenTrial) -> None:
        """Take in a trial that has ended; one still running is left as it is."""
        if trial.state is TrialState.RUNNING:
            return
        setting, draw = self._running.pop(trial.number)
        if trial.state is TrialState.COMPLETE:
            balanced_acc = trial.user_attrs.get("balanced_acc")
            scores = (*trial.values, math.nan if balanced_acc is None else balanced_acc)
            self._scores[trial.number] = setting, draw, scores
            if self.first.setdefault(setting, trial) is trial and _is_inside(trial):
                self.inside.add(setting)
        elif trial.user_attrs.get(DIVERGED):
            self._diverged.add(setting)
        else:
            self._failures[setting, draw] += 1
            if self._failures[setting, draw] < MOST_FAILURES:
                self._taken[setting].discard(draw)
            else:
                self.failing.add(setting)
        self._estimates = None

    @property
    def running(self) -> list[tuple[int, int]]:
        """Setting and draw of each running trial."""
        return list(self._running.values())

    @property
    def erases(self) -> Erases:
        """All complete ones, without those of settings that diverged."""
        kept = [row for _number, row in sorted(self._scores.items()) if row[0] not in self._diverged]
        settings, draws = (np.array([row[column] for row in kept], dtype=np.intp) for column in (0, 1))
        return Erases(np.array([row[2] for row in kept], float).reshape(-1, len(ESTIMATED)), settings, draws)

    @property
    def estimates(self) -> Estimates:
        """Estimates of the settings, made once after each end."""
        if self._estimates is None:
            self._estimates = estimate(*self.erases)
        return self._estimates


def _is_inside(trial: FrozenTrial) -> bool:
    """True for a point inside its space; a control may lie outside, and then has no parameters or one out of range."""
    kinds = trial.distributions.items()
    return bool(kinds) and all(kind._contains(kind.to_internal_repr(trial.params[name])) for name, kind in kinds)

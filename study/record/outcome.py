"""The result of a search so far: its settings, their estimates, the front and the recommended one."""

from __future__ import annotations

from typing import NamedTuple, Self

import optuna
from optuna.trial import FrozenTrial

from reports.analysis import allocation
from reports.analysis.estimates import Estimates
from reports.analysis.frontier import Bound, Indices
from reports.analysis.objectives import Floats, costs
from search_spaces import Point
from study.search.settings import SettingTable, setting_of


class SearchOutcome(NamedTuple):
    """The settings of a study with a complete trial."""

    settings: list[FrozenTrial]
    """The first complete trial of each, in the order of the estimates."""
    estimates: Estimates
    front: Indices
    """Settings on the front, by rising ASR."""
    pick: int | None
    """The recommended setting, if any keeps enough accuracy."""

    @classmethod
    def of(cls, study: optuna.Study, bound: Bound) -> Self:
        """The outcome of all trials so far."""
        table = SettingTable(study.get_trials(deepcopy=False))
        found = table.estimates
        settings = [table.first[int(number)] for number in found.settings]
        return cls(settings, found, allocation.front(found), allocation.recommended(found, bound))

    @property
    def costs(self) -> Floats:
        """(settings, 2), see reports.analysis.objectives."""
        return costs(self.estimates.mean[:, :2])

    def point(self, index: int) -> Point:
        """A setting."""
        return Point.of(setting_of(self.settings[index]))

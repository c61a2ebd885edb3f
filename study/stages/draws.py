"""The draws of a search: each with its own holdout, and teachers made by the first trial that needs one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nad.scenario import Scenario
from search_spaces import Point
from study.engine import tune
from study.engine.erase_task import HOLDOUT, TEACHER, Workload
from study.search.lost_trial import LostTrial
from study.search.searcher import OptunaSearcher
from study.stages.teachers import TeacherCache, Which


@dataclass
class Draws:
    """The data of the draws beside the workload's own, put into shared memory when first needed."""

    scenario: Scenario
    workload: Workload
    """Of draw 0, with its teachers."""
    clean_fraction: float
    """The largest of the study."""
    cache: TeacherCache
    _holdouts: dict[int, Any] = field(default_factory=dict)
    _teachers: dict[Which, Any] = field(default_factory=dict)
    _makers: dict[str, Which] = field(default_factory=dict)

    def shared(self, trial: str, setting: Mapping[str, Any], draw: int) -> dict[str, Any]:
        """Handles for a trial that starts; without a teacher, it makes one."""
        point = Point.of(setting)
        if draw == self.workload.draw:
            return {}
        found = {HOLDOUT: self._holdout(draw)}
        if point.erase.weights and not self.workload.origin.ready:
            which = draw, point.clean_fraction
            if (teacher := self._teacher(which)) is None:
                self._makers[trial] = which
            else:
                found[TEACHER] = teacher
        return found

    def is_in_the_making(self, setting: Mapping[str, Any], draw: int) -> bool:
        """True if another trial makes the teacher that this one would need: it would wait, or make it twice."""
        point = Point.of(setting)
        return bool(point.erase.weights) and (draw, point.clean_fraction) in self._makers.values()

    def keep(self, trial: str, clean_fraction: float, weights: Any) -> None:
        """Take a teacher from the trial that made it."""
        which = self._makers.pop(trial)
        self.cache.keep(which, weights)
        self._teachers[which] = tune.share((clean_fraction, weights))

    def end(self, trial: str) -> None:
        """Forget a trial, with or without the teacher it was to make."""
        self._makers.pop(trial, None)

    def _holdout(self, draw: int) -> Any:
        if draw not in self._holdouts:
            holdout = self.scenario.holdout(self.clean_fraction, draw)
            self._holdouts[draw] = tune.share((holdout.images.numpy(), holdout.labels.numpy()))
        return self._holdouts[draw]

    def _teacher(self, which: Which) -> Any:
        if which not in self._teachers and (weights := self.cache.find(which)) is not None:
            self._teachers[which] = tune.share((which[1], weights))
        return self._teachers.get(which)


@dataclass(frozen=True)
class OnDraws:
    """A searcher's trials with the data of their draws, as Tune takes them."""

    searcher: OptunaSearcher
    draws: Draws

    @property
    def finished(self) -> bool:
        """The searcher's."""
        return self.searcher.finished

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The searcher's config, with handles to its draw's data."""
        config = self.searcher.suggest(trial_id)
        if config is None:
            return None
        return {**config, "shared": self.draws.shared(trial_id, config["setting"], config["draw"])}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Keep a teacher; pass on everything else."""
        if "kept" in result:
            self.draws.keep(trial_id, *result["kept"])
            return False
        return self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None, lost: LostTrial | None) -> None:
        """A trial's end."""
        self.draws.end(trial_id)
        self.searcher.on_trial_complete(trial_id, result, lost)

    def close(self) -> None:
        """The searcher's."""
        self.searcher.close()

    def raise_if_failing(self) -> None:
        """The searcher's."""
        self.searcher.raise_if_failing()

"""The confirmation: re-runs on the victim and on a clean model, each draw with its own teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import optuna

from nad.checkpoints import State, state_digest
from nad.scenario import Scenario
from nad.victim import Victim, score_state
from reports.analysis.frontier import Bound
from search_spaces import Point
from study.engine.devices import driver_device
from study.engine.erase_task import Origin, Workload, as_arrays
from study.options.config import StudyConfig
from study.record.outcome import SearchOutcome
from study.stages import baselines, confirmation
from study.stages.baselines import BaselineRun
from study.stages.confirmation import ConfirmationRun
from study.stages.confirmation_results import CLEAN_MODEL, VICTIM
from study.stages.preparation import Preparation
from study.stages.repeats import Repeats, missing
from study.stages.teachers import with_teachers
from study.stages.workload import for_draw, make_workload


@dataclass(frozen=True)
class ConfirmationPlan:
    """The runs of a study's confirmation after its trials so far."""

    config: StudyConfig
    study: optuna.Study
    bound: Bound

    @property
    def draws(self) -> int:
        """Fresh draws for each point."""
        return self.config.search.confirm

    def setting_runs(self) -> list[ConfirmationRun]:
        """Runs of all settings to confirm, the recommended one's first in each draw."""
        return confirmation.plan(confirmation.chosen(self.study, self.bound), self.draws)

    def baseline_runs(self) -> list[BaselineRun]:
        """Re-runs of the baselines on the same draws, without those that diverged in the study itself."""
        searched = baselines.planned(self.config.search, (0,))
        sound = {(run.name, run.clean_fraction) for run in baselines.finished(self.study, searched)}
        runs = baselines.planned(self.config.search, confirmation.fresh(self.draws))
        return [run for run in runs if (run.name, run.clean_fraction) in sound]

    def clean_point(self) -> Point | None:
        """The recommended point, if any, for the erase of a clean model.

        None for a victim from a file: its recipe is unknown, so there is no clean model of the same.
        """
        outcome = SearchOutcome.of(self.study, self.bound)
        own_victim = self.config.victim.victim is not None
        return None if outcome.pick is None or own_victim else outcome.point(outcome.pick)

    def count_runs(self) -> dict[str, int] | None:
        """`confirmation` in summary.json; None with --confirm 0."""
        if not self.draws:
            return None
        points, others = self.setting_runs(), self.baseline_runs()
        left = len(missing(self.study, points)) + len(missing(self.study, others))
        runs = len(points) + len(others)
        if (point := self.clean_point()) is not None:
            digest = self.study.user_attrs.get(CLEAN_MODEL, {}).get("sha256", "not trained yet")
            left += len(missing(self.study, confirmation.clean_plan(point, self.draws, digest)))
            runs += self.draws
        return {"draws": self.draws, "runs": runs, "done": runs - left}


@dataclass(frozen=True)
class Confirmation:
    """Runs the points to confirm again, with fresh seeds and draws, on the test images."""

    plan: ConfirmationPlan
    preparation: Preparation
    repeats: Repeats
    scenario: Scenario
    victim: Victim
    origin: Origin | None
    """Of teachers of another architecture."""
    images: str
    """Fingerprint of the data set."""

    def run(self) -> None:
        """Make the missing runs, the answer's first: the confirmation may be interrupted."""
        self._on_the_victim("confirmation", self.plan.setting_runs())
        self._by_the_baselines()
        if (point := self.plan.clean_point()) is not None:
            self._on_a_clean_model(point)

    def _on_the_victim(self, stage: str, planned: Sequence[ConfirmationRun]) -> None:
        if missing(self.plan.study, planned):
            self.plan.study.set_user_attr(VICTIM, self._test_scores(self.victim.state))
            self._make(stage, planned, self._workload())

    def _by_the_baselines(self) -> None:
        self.repeats.run(
            "confirmation of baselines",
            baselines.run_once,
            self.plan.baseline_runs(),
            lambda runs: self._for_draws(self._workload(), runs, max(self.plan.config.search.fractions)),
        )

    def _on_a_clean_model(self, point: Point) -> None:
        """The recommended point on a clean model of the victim's recipe: the erase's cost without a backdoor."""
        study, draws = self.plan.study, self.plan.draws
        known = study.user_attrs.get(CLEAN_MODEL)
        if known and not missing(study, confirmation.clean_plan(point, draws, known["sha256"])):
            return
        recipe = self.plan.config.recipe
        state = self.preparation.train_clean("clean model", self.scenario, recipe)
        digest = state_digest(state)
        if known is None or known["sha256"] != digest:  # lost from the cache, and trained again on another machine
            study.set_user_attr(CLEAN_MODEL, {"sha256": digest, **self._test_scores(state)})
        planned = confirmation.clean_plan(point, draws, digest)
        origin = self.preparation.prepare_clean_origin(self.scenario, recipe)
        workload = replace(self._workload(), victim=as_arrays(state), teachers_origin=origin)
        self._make("confirmation on a clean model", planned, workload)

    def _test_scores(self, state: State) -> dict[str, float]:
        architecture = self.plan.config.victim.architecture
        return score_state(state, architecture, self.scenario, self.scenario.test, driver_device())._asdict()

    def _workload(self) -> Workload:
        return make_workload(self.plan.config, self.scenario, self.victim, self.scenario.test, self.origin)

    def _make(self, stage: str, planned: Sequence[ConfirmationRun], workload: Workload) -> None:
        """Make the missing ones of the planned runs, each draw with its own holdout and teachers."""

        def workloads_for(runs: Sequence[ConfirmationRun]) -> Mapping[int, Workload]:
            teachers = sorted({(run.draw, run.point.clean_fraction) for run in runs})
            largest = max(fraction for _draw, fraction in teachers)
            blocks = self._for_draws(workload, runs, largest)
            return with_teachers(blocks, teachers, self.images, self.preparation)

        self.repeats.run(stage, confirmation.run_once, planned, workloads_for)

    def _for_draws(
        self, workload: Workload, runs: Sequence[ConfirmationRun | BaselineRun], clean_fraction: float
    ) -> dict[int, Workload]:
        draws = sorted({run.draw for run in runs})
        return {draw: for_draw(workload, self.scenario, clean_fraction, draw) for draw in draws}

"""The confirmation, put together: who erases what with which teacher, on the victim and on a clean model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from nad.checkpoints import State, state_digest
from nad.scenario import Scenario
from nad.victim import Victim, score_state, train_reference
from reports.analysis.frontier import Bound
from search_spaces import Point
from study.display.progress import Display
from study.engine.devices import driver_device
from study.engine.erase_task import Origin, Workload, as_arrays
from study.engine.remote_training import runner
from study.options.config import StudyConfig
from study.record.exports import bound_of, search_outcome
from study.stages import baselines, confirmation
from study.stages.confirmation import CLEAN_MODEL, VICTIM, Run
from study.stages.preparation import for_draw, make_workload, prepare_clean_origin, with_teachers


def planned_points(config: StudyConfig, study: optuna.Study, bound: Bound) -> list[Run]:
    """The runs that confirm trials, as the search stands."""
    answer, landmarks = confirmation.chosen(study, bound)
    return _plan(config, [*answer, *landmarks])


def _plan(config: StudyConfig, trials: Sequence[FrozenTrial]) -> list[Run]:
    return confirmation.plan((config.point_of(trial) for trial in trials), config.confirm)


def _planned_baselines(config: StudyConfig, study: optuna.Study) -> list[baselines.Run]:
    """Those of the other defences, by the defenders of the points; not of what diverged in the study itself."""
    searched = baselines.planned(config, (0,))
    sound = {(run.name, run.clean_fraction) for run in baselines.finished(study, searched)}
    runs = baselines.planned(config, range(1, config.confirm + 1))
    return [run for run in runs if (run.name, run.clean_fraction) in sound]


def on_clean_model(config: StudyConfig, study: optuna.Study, bound: Bound) -> Point | None:
    """The point that a clean model is to be erased with: the recommended one, if there is one.

    Nobody knows the recipe of a victim from a file, so there is no clean model of the same.
    """
    trials = search_outcome(study, bound)
    return None if trials.pick is None or config.victim else config.point_of(trials.complete[trials.pick])


def progress(config: StudyConfig, study: optuna.Study, bound: Bound) -> dict[str, int] | None:
    """`confirmation` as summary.json has it; None where none was asked for."""
    if not config.confirm:
        return None
    points, others = planned_points(config, study, bound), _planned_baselines(config, study)
    left = len(confirmation.missing(study, points)) + len(confirmation.missing(study, others))
    runs = len(points) + len(others)
    if (point := on_clean_model(config, study, bound)) is not None:
        digest = study.user_attrs.get(CLEAN_MODEL, {}).get("sha256", "not trained yet")
        left += len(confirmation.missing(study, confirmation.clean_plan(point, config.confirm, digest)))
        runs += config.confirm
    return {"draws": config.confirm, "runs": runs, "done": runs - left}


@dataclass(frozen=True)
class Confirmation:
    """Runs the points that matter again, with fresh seeds and other draws of clean images, on the test images."""

    config: StudyConfig
    study: optuna.Study
    scenario: Scenario
    victim: Victim
    origin: Origin | None
    """Of teachers of another architecture."""
    images: str
    """Fingerprint of the data set."""
    cache: Path
    display: Display
    on_run: Callable[[], object]
    """Called after each run, to bring the study's files up to date."""

    def run(self) -> None:
        """What of it the record does not hold yet: first what the answer rests on, for it may be interrupted."""
        config, study = self.config, self.study
        bound = bound_of(self.victim, self.scenario, config.max_acc_drop)
        answer, landmarks = confirmation.chosen(study, bound)
        self._on_the_victim("confirmation", _plan(config, answer))
        self._by_the_baselines()
        if (point := on_clean_model(config, study, bound)) is not None:
            self._on_a_clean_model(point)
        self._on_the_victim("confirmation of the front", _plan(config, landmarks))

    def _on_the_victim(self, stage: str, planned: Sequence[Run]) -> None:
        if confirmation.missing(self.study, planned):
            self.study.set_user_attr(VICTIM, self._test_scores(self.victim.state))
            self._make(stage, planned, self._block())

    def _by_the_baselines(self) -> None:
        config, planned = self.config, _planned_baselines(self.config, self.study)
        if not confirmation.missing(self.study, planned):
            return
        block = self._block()
        draws = {run.draw for run in planned}
        blocks = {draw: for_draw(block, self.scenario, max(config.fractions), draw) for draw in draws}
        stage = "confirmation of baselines"
        baselines.make(config, self.study, stage, planned, blocks, self.display, self.on_run)

    def _on_a_clean_model(self, point: Point) -> None:
        """The recommended point on a clean model of the victim's recipe: what the erase costs without a backdoor."""
        known, draws = self.study.user_attrs.get(CLEAN_MODEL), self.config.confirm
        if known and not confirmation.missing(self.study, confirmation.clean_plan(point, draws, known["sha256"])):
            return
        recipe = self.config.recipe
        with self.display.stage("clean model", "epochs") as step:
            state = train_reference(
                self.scenario,
                self.config.architecture,
                recipe,
                cache=self.cache,
                device=driver_device(),
                progress=step,
                run=runner(self.config, self.display.say),
            )
        digest = state_digest(state)
        if known is None or known["sha256"] != digest:  # lost from the cache, and trained again on another machine
            self.study.set_user_attr(CLEAN_MODEL, {"sha256": digest, **self._test_scores(state)})
        planned = confirmation.clean_plan(point, draws, digest)
        origin = prepare_clean_origin(self.config, self.scenario, recipe, self.cache, self.display)
        block = replace(self._block(), victim=as_arrays(state), teachers_origin=origin)
        self._make("confirmation on a clean model", planned, block)

    def _test_scores(self, state: State) -> dict[str, float]:
        return score_state(
            state, self.config.architecture, self.scenario, self.scenario.test, driver_device()
        )._asdict()

    def _block(self) -> Workload:
        return make_workload(self.config, self.scenario, self.victim, self.scenario.test, self.origin)

    def _make(self, stage: str, planned: Sequence[Run], block: Workload) -> None:
        """Make those of the planned runs that are missing, each by its own defender."""
        runs = confirmation.missing(self.study, planned)
        if not runs:
            return
        blocks = self._with_defenders(runs, block)
        with self.display.stage(stage, "runs") as step:
            done = before = len(planned) - len(runs)
            step(done, len(planned))

            def on_done(ended: int) -> None:
                nonlocal done
                done = before + ended
                step(done, len(planned))
                self.on_run()

            confirmation.confirm(
                self.study,
                runs,
                blocks,
                cpus=self.config.cpus_per_trial,
                gpus=self.config.gpus_per_trial,
                on_done=on_done,
                on_progress=lambda running: step(done, len(planned), running),
            )

    def _with_defenders(self, runs: Sequence[Run], block: Workload) -> Mapping[int, Workload]:
        teachers = sorted({(run.draw, run.point.clean_fraction) for run in runs})
        largest = max(fraction for _draw, fraction in teachers)
        blocks = {draw: for_draw(block, self.scenario, largest, draw) for draw in sorted({run.draw for run in runs})}
        return with_teachers(blocks, teachers, self.config, self.images, self.cache, self.display)

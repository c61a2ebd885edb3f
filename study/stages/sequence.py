"""The stages of a study in order, after its victims are ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import optuna

from nad import models
from nad.feature_scale import feature_rms
from nad.scenario import Scenario
from nad.victim import Victim
from reports.analysis.frontier import Bound
from reports.build import build
from search_spaces import Domain
from study.engine.devices import driver_device
from study.engine.erase_task import Origin, Workload
from study.record.clock import Clock
from study.record.files import StudyFiles
from study.record.folder import StudyFolder
from study.search.trial_event import TrialEvent
from study.search.warm_start import Earlier
from study.signals import stopped_by_the_second
from study.stages import baselines, product
from study.stages.confirmation_runs import Confirmation, ConfirmationPlan
from study.stages.draws import Draws
from study.stages.preparation import Preparation
from study.stages.repeats import Repeats
from study.stages.teachers import TeacherCache, with_teachers
from study.stages.trials import TrialStage
from study.stages.workload import make_workload

FEATURE_RMS = "feature_rms"
"""Attribute of the study: root mean square of the victim's features, by layer."""
MEASURED = 500
"""Validation images to measure them on."""


@dataclass(frozen=True)
class Stages:
    """Teachers, trials, baselines, product and confirmation of one study."""

    preparation: Preparation
    study: optuna.Study
    folder: StudyFolder
    files: StudyFiles
    clock: Clock
    scenario: Scenario
    victim: Victim
    origin: Origin | None
    """Of teachers of another architecture."""
    images: str
    """Fingerprint of the data set."""
    bound: Bound

    def run(self, earlier: Sequence[Earlier], observe: Callable[[TrialEvent], None]) -> None:
        """Run the missing part of each stage; keep the study's files up to date."""
        config, display = self.preparation.config, self.preparation.display
        with self.clock.stage("teachers"):
            workload = self._workload()
        repeats = Repeats(self.study, config.engine.size, display, self.files.refresh)
        with recorded(self.folder, self.files):
            with self.clock.stage("trials"):
                cache = TeacherCache(self.preparation.cache, workload, self.images)
                draws = Draws(self.scenario, workload, max(config.search.fractions), cache)
                stage = TrialStage(config, self.study, draws, self._domain(), self.bound, display)
                stage.run(earlier, self.files, observe)
            with self.clock.stage("baselines"):
                planned = baselines.planned(config.search, (workload.draw,))
                repeats.run("baselines", baselines.run_once, planned, lambda _runs: {workload.draw: workload})
            product.keep_recommended(self.preparation, self.study, self.scenario, self.bound, workload, self.folder)
            if config.search.confirm:
                _write(self.folder, self.files)  # the confirmation may take long: there is a report meanwhile
                plan = ConfirmationPlan(config, self.study, self.bound)
                with self.clock.stage("confirmation"):
                    Confirmation(
                        plan, self.preparation, repeats, self.scenario, self.victim, self.origin, self.images
                    ).run()

    def _domain(self) -> Domain:
        """The domain of the search space. The features are recorded: another machine may measure them a little off."""
        config, study = self.preparation.config, self.study
        if FEATURE_RMS not in study.user_attrs:
            architecture, device = config.victim.architecture, driver_device()
            network = models.with_weights(architecture, self.scenario.dataset.classes, self.victim.state).to(device)
            images = self.scenario.validation.subset(MEASURED).clean.images
            study.set_user_attr(FEATURE_RMS, feature_rms(network, images, config.layers, device=device))
        return Domain(config.layers, config.search.fractions, study.user_attrs[FEATURE_RMS])

    def _workload(self) -> Workload:
        """The trials' workload, with its teachers."""
        config = self.preparation.config
        workload = make_workload(config, self.scenario, self.victim, self.scenario.validation, self.origin)
        wanted = [(workload.draw, fraction) for fraction in config.search.fractions]
        return with_teachers({workload.draw: workload}, wanted, self.images, self.preparation)[workload.draw]


@contextmanager
def recorded(folder: StudyFolder, files: StudyFiles) -> Iterator[None]:
    """Write the study's files at the end of the block; after an error, the report, too."""
    try:
        yield
    except BaseException:
        # The study's own error says more than an error in writing files; and before the first trial there is nothing
        # to report. This takes seconds, unless the record does not answer.
        with suppress(Exception), stopped_by_the_second():
            _write(folder, files)
        raise
    product.write_card(folder, files.write())


def _write(folder: StudyFolder, files: StudyFiles) -> None:
    product.write_card(folder, files.write())
    build(folder.path)

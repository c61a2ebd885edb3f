"""Everything before the first trial: images, attack, victims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from nad import attacks, data
from nad.checkpoints import State
from nad.data import Dataset
from nad.data.splits import straddling
from nad.errors import DataError
from nad.formats import ForeignModel
from nad.models.inspection import require_distillable
from nad.preparation import prepare
from nad.reflection_selection import require_judges, select_reflections, selectable
from nad.scenario import Scenario
from nad.victim import (
    Victim,
    VictimConfig,
    require_above_chance,
    require_backdoor,
    score_state,
    train_reference,
    train_victim,
)
from study.display.progress import Display
from study.engine.devices import driver_device
from study.engine.erase_task import Origin, as_arrays
from study.engine.remote_training import runner
from study.options import attack_settings
from study.options.config import StudyConfig
from study.options.paths import expanded
from study.options.victim import VictimOptions
from study.record.provenance import Source
from study.stages.victim_file import accept_victim

T = TypeVar("T")

PICTURES = 8
"""Images in the attack's picture."""


@dataclass(frozen=True)
class Preparation:
    """Prepares a study's images, attack and victims; trains models here or on its cluster."""

    config: StudyConfig
    cache: Path
    display: Display
    teacher: Origin | None = None
    """From a file, for every erase."""

    def load_scenario(self) -> Scenario:
        """The images, split, and the attack on them.

        Raises: ConfigError or DataError for unfit settings or images, such as too small a poison rate.
        """
        options, search = self.config.victim, self.config.search
        scenario = Scenario(self._load_dataset(options), options.made_attack, search.seed)
        for remark in (*attacks.remarks(scenario.attack), *_straddling(scenario)):
            self.display.say(remark)
        for fraction in search.fractions:
            scenario.holdout(fraction)
        if options.victim is None:
            scenario.count_planted()
            require_judges(scenario)
        return scenario

    def _load_dataset(self, options: VictimOptions) -> Dataset:
        data_dir = options.data_dir and expanded(options.data_dir, "--data-dir")
        if data_dir is not None and not data_dir.exists():
            raise DataError(f"--data-dir {data_dir}: there is no such folder; name one that is there")
        with self.display.stage("images", "read") as step:
            dataset = data.load(
                options.dataset,
                cache_dir=self.cache,
                data_dir=data_dir,
                image_size=options.used_image_size,
                progress=lambda _stage, done, total: step(done, total),
            )
        for remark in dataset.remarks:
            self.display.say(remark)
        return dataset if options.used_flip else replace(dataset, flip=False)

    def prepare_attack(self, scenario: Scenario, source: Source) -> Scenario:
        """The scenario with its attack ready for planting: some attacks need a clean model, or train others first.

        Nothing is planted for a victim from a file, so nothing is prepared.
        Raises: ConfigError for a clean model no better than guessing; DataError for too few images to select
        reflections by.
        """
        if isinstance(source, ForeignModel) or scenario.attack.is_ready:
            return scenario
        if not scenario.attack.needs_clean_model:
            return self._run(select_reflections, "reflections", scenario, source)
        clean = self.train_clean("clean reference", scenario, source)
        return self._run(prepare, f"attack {self.config.victim.attack}", scenario, clean, unit="steps")

    def prepare_victims(self, scenario: Scenario, source: Source) -> tuple[Victim, Origin | None]:
        """The victim, and the teachers' origin: a file, or a second victim of another architecture.

        Raises: WeakBackdoor for a victim with a weak backdoor, unless the settings allow it.
        """
        if isinstance(source, ForeignModel):
            allow_weak = self.config.victim.allow_weak_backdoor
            return accept_victim(source, scenario, self.display, allow_weak=allow_weak), self.teacher
        return self.prepare_victim(scenario, source), self._prepare_origin(scenario, source)

    def prepare_victim(self, scenario: Scenario, recipe: VictimConfig) -> Victim:
        """The backdoored model, trained or from the cache, and checked.

        Raises: WeakBackdoor for a weak backdoor, unless the settings allow it.
        """
        options = self.config.victim
        victim = self._run(train_victim, "victim", scenario, recipe)
        self.display.say(f"victim: validation ASR {victim.scores.asr:.1%}, ACC {victim.scores.acc:.1%}")
        reference_acc = None
        if options.reference:
            clean = self.train_clean("clean reference", scenario, recipe)
            reference_acc = score_state(clean, options.architecture, scenario, scenario.validation, driver_device()).acc
            self.display.say(f"clean reference: validation ACC {reference_acc:.1%}")
        if not options.allow_weak_backdoor:
            counts = scenario.count_planted()
            remedy = attack_settings.remedy(scenario.attack, *counts, selectable=selectable(scenario))
            require_above_chance(victim, scenario.validation.clean.labels, remedy="train longer, poison less")
            require_backdoor(victim, reference_acc, remedy=remedy)
        return victim

    def train_clean(self, stage: str, scenario: Scenario, recipe: VictimConfig) -> State:
        """A clean model of the victim's recipe, trained or from the cache."""
        return self._run(train_reference, stage, scenario, recipe)

    def _prepare_origin(self, scenario: Scenario, recipe: VictimConfig) -> Origin | None:
        """A teacher from a file, or a victim of the teachers' architecture; None for copies of the victim itself.

        Its backdoor may be weak: the study measures the other one's.
        """
        if (model := self._other_architecture) is None:
            return self.teacher
        made = self._run(train_victim, "teachers' victim", scenario, recipe, model=model)
        asr, acc = made.scores.asr, made.scores.acc
        self.display.say(f"teachers' victim ({model}): validation ASR {asr:.1%}, ACC {acc:.1%}")
        return Origin(model, as_arrays(made.state))

    def prepare_clean_origin(self, scenario: Scenario, recipe: VictimConfig) -> Origin | None:
        """The same without a backdoor, for teachers of a clean model."""
        if (model := self._other_architecture) is None:
            return self.teacher
        state = self._run(train_reference, "teachers' clean model", scenario, recipe, model=model)
        return Origin(model, as_arrays(state))

    @property
    def _other_architecture(self) -> str | None:
        """The teachers' architecture if it is not the victim's."""
        options = self.config.victim
        return None if options.teacher_architecture == options.architecture else options.teacher_architecture

    def _run(
        self,
        function: Callable[..., T],
        stage: str,
        scenario: Scenario,
        source: Any,
        *,
        unit: str = "epochs",
        model: str | None = None,
    ) -> T:
        """The result of function(scenario, model, source, ...), with its progress shown."""
        with self.display.stage(stage, unit) as step:
            return function(
                scenario,
                model or self.config.victim.architecture,
                source,
                cache=self.cache,
                device=driver_device(),
                progress=step,
                run=runner(self.config.engine.address, self.display.say),
            )


def _straddling(scenario: Scenario) -> tuple[str, ...]:
    """A line on validation images among the victim's training images, or none."""
    count = straddling(scenario.splits, scenario.dataset.copies)
    total = len(scenario.splits.validation)
    return (
        (f"{count:,} of {total:,} validation images are training images too: their classes have hardly any others",)
        if count
        else ()
    )


def require_models(options: VictimOptions, scenario: Scenario) -> None:
    """Raise ConfigError for an architecture unfit for these images, before any training."""
    some = scenario.dataset.train[torch.arange(2)]
    for name in dict.fromkeys((options.architecture, options.teacher_architecture)):
        require_distillable(name, scenario.dataset.classes, some, classifier=scenario.attack.needs_clean_model)

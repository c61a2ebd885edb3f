"""Contents of summary.json: the study's state and its facts."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import optuna

from nad.attacks import describe
from nad.checkpoints import state_digest
from nad.evaluation import chance
from nad.scenario import Scenario
from nad.victim import Victim
from reports import summary_schema
from reports.analysis.frontier import Bound
from study.engine import code
from study.options.config import StudyConfig
from study.record import exports, provenance
from study.record.clock import Clock
from study.record.energy import EnergyMeter
from study.stages import baselines, confirmation_results
from study.stages.confirmation_runs import ConfirmationPlan
from study.stages.teachers import TEACHER_SHA256


@dataclass(frozen=True)
class Summary:
    """Of one study; read at each writing of its files."""

    config: StudyConfig
    study: optuna.Study
    scenario: Scenario
    victim: Victim
    command: str
    clock: Clock
    meter: EnergyMeter

    def read(self) -> dict[str, Any]:
        """The contents now."""
        config, recorded = self.config, self.study.user_attrs
        counts = confirmation_results.Counts.of(self.scenario)
        points = confirmation_results.Reader(recorded, counts)
        others = baselines.baseline_results(recorded, config.search.fractions, counts)
        found = {
            "schema": summary_schema.VERSION,
            **self._facts,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": self.clock.read(),
            "energy_kwh": self.meter.read(),
            **exports.results(self.study, self._facts["victim"], self.bound, points, others),
            "baselines": baselines.count_runs(config.search, self.study),
            "confirmation": ConfirmationPlan(config, self.study, self.bound).count_runs(),
            "stopped": exports.stopped(self.study, config.search.trials) if config.search.until_converged else None,
        }
        return summary_schema.Summary.model_validate(found).model_dump(by_alias=True, exclude_unset=True)

    @cached_property
    def bound(self) -> Bound:
        """The accuracy to keep, for a recommendation."""
        return exports.bound_of(self.victim, self.scenario, self.config.search.max_acc_drop)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        """The part independent of the trials."""
        config, scenario, victim = self.config, self.scenario, self.victim
        return {
            "study": config.study_name,
            "attack": config.victim.attack,
            "attack_settings": describe(scenario.attack),
            "dataset": config.victim.dataset,
            "model": config.victim.architecture,
            "teacher_model": config.victim.teacher_architecture,
            "space": config.search.space,
            "seed": config.search.seed,
            "command": self.command,
            "host": platform.node(),
            "git": provenance.git_revision(),
            "code_sha256": code.digest(),
            "versions": provenance.versions(),
            "wanted_trials": config.search.trials,
            "max_acc_drop": config.search.max_acc_drop,
            "victim": victim.scores._asdict(),
            "guess": {"acc": chance(scenario.clean_validation.labels), "balanced_acc": self.bound.guess},
            "victim_sha256": state_digest(victim.state),
            "victim_file": victim.origin,
            "victim_threads": victim.threads,
            "teacher_sha256": self.study.user_attrs.get(TEACHER_SHA256),
            "counts": {
                "train": len(scenario.dataset.train),
                "victim_train": len(scenario.splits.victim_train),
                "poisoned": len(scenario.poisoned.indices) if victim.origin is None else None,
                "validation": len(scenario.splits.validation),
                "test": len(scenario.dataset.test),
            },
        }

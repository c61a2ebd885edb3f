"""One study's settings: frozen, in groups, validated once; the command line is made from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import tyro

from nad import models
from nad.victim import VictimConfig
from study.options.engine import EngineOptions
from study.options.helptext import fields_of
from study.options.paths import expanded
from study.options.record import RecordOptions
from study.options.search import SearchOptions
from study.options.storage_url import masked
from study.options.validation import require_valid
from study.options.victim import VictimOptions


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Study how well Neural Attention Distillation erases a backdoor.

    Trains a backdoored model (or takes it from the cache, or yours from --victim), searches the settings of the erase,
    and writes a report on the frontier between attack success rate and accuracy. The same command resumes a stopped
    study; more --trials extends a finished one. `nad-study list`, `show NAME`, `stop NAME` and `resume NAME` manage
    studies; `nad-study apply --help` explains using a setting found here on another model, `nad-study defend --help`
    running another defence on one.
    """

    victim: VictimOptions = field(default_factory=VictimOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    record: RecordOptions = field(default_factory=RecordOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        require_valid(self.victim, self.search, self.record, self.engine)

    @classmethod
    def of(cls, **settings: Any) -> Self:
        """The config with these settings, by name of the option; the rest at their defaults."""
        return cls().changed(**settings)

    def changed(self, **settings: Any) -> Self:
        """The same with other values for these settings."""
        left, groups = dict(settings), {}
        for name, group in vars(self).items():
            names = fields_of(type(group)).keys() & left.keys()
            groups[name] = replace(group, **{each: left.pop(each) for each in names})
        if left:
            raise TypeError(f"unknown settings: {', '.join(left)}")
        return replace(self, **groups)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name of the option, without the groups: the layout of config.json."""
        return {name: getattr(group, name) for group in vars(self).values() for name in fields_of(type(group))}

    def shown(self) -> dict[str, Any]:
        """All settings, with the storage's password masked."""
        return {**self.settings, "storage": None if self.record.storage is None else masked(self.record.storage)}

    @property
    def study_name(self) -> str:
        return self.record.name or f"{self.victim.attack}-{self.victim.dataset}"

    @property
    def directory(self) -> Path:
        """The study's own folder."""
        return (expanded(self.record.output, "--output") / self.study_name).resolve()

    @property
    def recipe(self) -> VictimConfig:
        """The recipe of a victim trained here."""
        return VictimConfig(epochs=self.victim.victim_epochs, precision=self.engine.used_precision)

    @property
    def layers(self) -> tuple[str, ...]:
        """The victim's distillation layers with a partner in the teacher."""
        return tuple(models.layer_pairs(self.victim.architecture, self.victim.teacher_architecture))

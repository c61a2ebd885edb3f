"""A teacher from a file: read it, check that it fits, use it in every erase."""

from __future__ import annotations

from pathlib import Path

import torch

from nad.checkpoints import state_digest
from nad.data.base import LabelledImages
from nad.errors import ConfigError
from nad.evaluation import guess_text, measure_skill, only_guesses
from nad.formats import ForeignModel, load_foreign
from nad.judging import CAUSES, JUDGED, spread
from nad.scenario import Scenario
from study.display.progress import Display
from study.engine.devices import driver_device
from study.options.config import StudyConfig
from study.options.paths import expanded
from study.record.provenance import Source
from study.stages.victim_file import announce

_SILENT = ("state-dict", "nad-release")
"""Formats that say nothing of a normalisation."""

_NONE = "leave --teacher out: teachers are made then"


def load_teacher(path: Path, victim: ForeignModel | None, *, trust: bool = False) -> ForeignModel:
    """The model in --teacher; without a normalisation of its own, it has the victim's.

    victim: from its file, or None for one trained here.
    Raises: CheckpointError for an unusable file; ConfigError for the victim's own weights.
    """
    path = expanded(path, "--teacher")
    teacher = load_foreign(path, trust=trust)
    if victim is None:
        return teacher
    if teacher.normalisation is None and victim.normalisation is not None and teacher.format in _SILENT:
        teacher = load_foreign(path, trust=trust, normalisation=victim.normalisation)
    if state_digest(teacher.state) == state_digest(victim.state):
        raise ConfigError(f"the model in --teacher is the victim itself; give a cleaned copy of it, or {_NONE}")
    return teacher


def require_fit(teacher: ForeignModel, *, model: str, classes: int, image_size: int) -> None:
    """Raise ConfigError for a teacher of another architecture, other classes or another image size than the victim."""
    size = teacher.trained_on.image_size or image_size
    if (teacher.name, teacher.classes) != (model, classes):
        is_what, wanted = f"is a {teacher.name} of {teacher.classes} classes", f"is a {model} of {classes}"
    elif size != image_size:
        is_what, wanted = f"was trained on {size}x{size} pixels", f"takes {image_size}x{image_size}"
    else:
        return
    raise ConfigError(
        f"the model in --teacher {is_what}, the victim {wanted}; give a teacher like the victim, or {_NONE}"
    )


def require_known(teacher: ForeignModel, images: LabelledImages, device: torch.device) -> float:
    """The teacher's accuracy on clean images, 500 at most.  Raises: ConfigError if it only guesses."""
    judged = images[spread(images.labels, JUDGED)]
    skill = measure_skill(teacher.network().to(device), judged, device=device)
    if only_guesses(skill.balanced_acc, judged.labels):
        raise ConfigError(
            f"the model in --teacher only guesses the clean images: {guess_text(skill, judged.labels)}; perhaps"
            f" {CAUSES}; mend that, or {_NONE}"
        )
    return skill.acc


def read_teacher(config: StudyConfig, source: Source, display: Display) -> ForeignModel | None:
    """The teacher of a study, or None for teachers that it makes.

    Raises: CheckpointError for an unusable file; ConfigError for a teacher unlike the victim.
    """
    options = config.victim
    if options.teacher is None:
        return None
    victim = source if isinstance(source, ForeignModel) else None
    teacher = load_teacher(options.teacher, victim, trust=options.trust_checkpoint)
    announce(teacher, options.teacher.name, display)
    return teacher


def accept_teacher(teacher: ForeignModel | None, config: StudyConfig, scenario: Scenario, display: Display) -> None:
    """Raise ConfigError or DataError for a teacher that does not fit the victim or the images."""
    if teacher is None:
        return
    dataset, victim = scenario.dataset, config.victim
    require_fit(teacher, model=victim.architecture, classes=dataset.classes, image_size=victim.used_image_size)
    teacher.trained_on.require_class_names(dataset.class_names, f"the data set {dataset.name}")
    acc = require_known(teacher, scenario.clean_validation, driver_device())
    display.say(f"teacher: your own, ACC {acc:.1%} on clean validation images")

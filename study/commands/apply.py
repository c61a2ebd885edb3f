"""`nad-study apply`: a study's setting on another model, without Ray."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
import tyro
from torch import nn

from nad import models
from nad.checkpoints import state_digest
from nad.context import TrainContext
from nad.data.folder import Owned
from nad.erasure import TEACHER, EraseConfig, distil, make_teacher
from nad.errors import ConfigError
from nad.evaluation import accuracy
from nad.formats import ForeignModel
from nad.seeds import generator
from reports.formatting import readable_params
from study.commands import own_model, scoring
from study.commands.found_setting import FoundSetting, read_setting
from study.commands.own_model import OwnModelConfig
from study.display.progress import Display
from study.engine.devices import driver_device
from study.options.command_line import one_line_errors
from study.options.helptext import documented
from study.options.paths import expanded
from study.signals import read_to_the_end
from study.stages import model_card, own_teacher
from study.stages.victim_file import announce


@documented
@dataclass(frozen=True, kw_only=True)
class ApplyConfig(OwnModelConfig):
    """Apply a study's setting to another model.

    Makes a teacher from the model, or takes yours, erases the model with it, and writes the erased model and its card.
    The effect on a backdoor is measured where triggered images are known: those in the model's file, or --attack or
    --trigger.
    """

    default_name: ClassVar[str] = "erased"

    summary: tyro.conf.Positional[Path]
    """The study's summary.json, or its folder."""
    trial: int | None = None
    """A trial of the study's front. Default: the recommended one."""
    teacher: Path | None = None
    """A teacher of your own: a file as for --victim, with its architecture and classes. Default: a fine-tuned copy of
    --victim."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0, 2 for a mistake, 130 for an interrupt."""
    given = list(sys.argv[1:] if arguments is None else arguments)

    def work(display: Display) -> None:
        with one_line_errors(ApplyConfig, given):
            config = tyro.cli(ApplyConfig, args=given, prog="nad-study apply")
        apply(config, display)

    return own_model.run_command(work)


def apply(config: ApplyConfig, display: Display) -> None:
    """Erase a model with a setting of a study; write it and its card.

    Raises: NadError or ReportError for the user's mistakes, before anything slow; later for a full disk.
    """
    own_model.require_ready(config)
    setting = read_setting(expanded(config.summary, "SUMMARY"), config.trial)
    config, model = own_model.read_model(config, display)
    _require_layers(setting, model)
    own = _own_teacher(config, model, display)
    images = own_model.read_images(config, model, display)
    display.say(
        f"setting: trial {setting.number} of {setting.study}, found with {setting.clean_images:,} clean images; here"
        f" are {len(images.train):,}"
    )
    device = driver_device()
    student, teacher = model.network().to(device), (own or model).network().to(device)
    own_model.require_known(config, student, images, device)
    if own is not None:
        own.trained_on.require_class_names(images.class_names, str(config.data / "train"))
        if not config.allow_guessing:
            own_teacher.require_known(own, images.train, device)
    scored = scoring.scored_images(config, config.seed, model, images)
    before = scoring.measure_before(scored, student, device, display)
    _erase(config, setting.erase, student, teacher, images, device, display)
    scores = scoring.compared(scored, before, scoring.measure(scored, student, device))
    facts = _facts(config, setting, model, images, own)
    own_model.write_model(
        config,
        student,
        model.trained_on.class_names or images.class_names,
        facts,
        scores,
        model_card.of_applied,
        "erased model",
        display,
    )


def _own_teacher(config: ApplyConfig, model: ForeignModel, display: Display) -> ForeignModel | None:
    """The model in --teacher, if given.  Raises: NadError for an unusable one, or one unlike the victim."""
    if config.teacher is None:
        return None
    teacher = own_teacher.load_teacher(config.teacher, model, trust=config.trust_checkpoint)
    announce(teacher, config.teacher.name, display)
    own_teacher.require_fit(teacher, model=model.name, classes=model.classes, image_size=config.used_image_size)
    return teacher


def _require_layers(setting: FoundSetting, model: ForeignModel) -> None:
    known = models.distillation_layers(model.name)
    missing = [layer for layer in setting.erase.weights if layer not in known]
    if missing:
        raise ConfigError(
            f"trial {setting.number} of {setting.study} distils {', '.join(missing)}, missing from {model.name}:"
            f" it has {', '.join(known)}; choose another --trial"
        )


def _erase(
    config: ApplyConfig,
    setting: EraseConfig,
    student: nn.Module,
    teacher: nn.Module,
    images: Owned,
    device: torch.device,
    display: Display,
) -> None:
    """Erase the student in place, once its teacher is made or given."""
    context = TrainContext(flip=config.used_flip, generator=generator(config.seed, "teacher"), device=device)
    if config.teacher is None:
        with display.stage("teacher", "epochs") as step:
            step(0, TEACHER.epochs)
            make_teacher(teacher, images.train, replace(context, progress=step))
    with display.stage("erase", "epochs") as step:
        step(0, setting.epochs)

        def watch(_epoch: int, model: nn.Module) -> float:
            # patience has only the training images: there are none for validation
            return accuracy(model, images.train, device=device)

        context = replace(context, generator=generator(config.seed, "erase"), progress=step)
        distil(student, teacher, images.train, setting, context, watch=watch if setting.patience else None)


def _facts(
    config: ApplyConfig, setting: FoundSetting, model: ForeignModel, images: Owned, own: ForeignModel | None
) -> dict[str, str]:
    chosen = ", ".join(f"{name} {value}" for name, value in readable_params(setting.params).items())
    of_model, of_work = own_model.shared_facts(config, model)
    return {
        **of_model,
        "teacher": "a fine-tuned copy of it" if own is None else f"from a file, sha256 {state_digest(own.state)}",
        "setting": f"trial {setting.number} of the study {setting.study}: {chosen}",
        "clean images": f"{len(images.train):,}; the setting was found with {setting.clean_images:,}",
        **of_work,
    }


if __name__ == "__main__":
    with read_to_the_end():
        sys.exit(main())

"""`nad-study apply`, or `python -m study.apply`: a setting that a study has found, on another model. Needs no Ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console
from torch import nn

from nad import models
from nad.checkpoints import Checkpoint, copy_state, save, state_digest
from nad.data.folder import Owned, load_owned
from nad.erasure import TEACHER, EraseConfig, distil, make_teacher
from nad.errors import ConfigError, DataError, NadError, require_range
from nad.evaluation import accuracy
from nad.foreign import ForeignModel, load_foreign
from nad.models.normalisation import Normalisation
from nad.seeds import generator
from reports.files import ReportError
from reports.wording import percent, readable_params
from study import model_card
from study.devices import driver_device
from study.folder import cache_folder
from study.foreign_victim import describe
from study.found_setting import FoundSetting, read_setting
from study.helptext import documented
from study.own_parts import chosen_normalisation
from study.watching.progress import Display
from study.writing import write_text

SUFFIX = ".safetensors"


@documented
@dataclass(frozen=True, kw_only=True)
class ApplyConfig:
    """Use a setting that a study has found on another model.

    Makes a teacher from the model, erases the model with it, and writes the erased model and its card. Whether a
    backdoor is gone is not measured: that takes triggered images.
    """

    summary: tyro.conf.Positional[Path]
    """The study's summary.json, or its folder."""
    victim: Path
    """The model: what this tool, the released NAD code or BackdoorBench wrote, a state dict, or safetensors."""
    data: Path
    """Clean images: a folder with train/, what to erase with, and perhaps test/, what to score on; in each one folder
    per class, in the order of the model's labels."""
    victim_mean: tuple[float, float, float] | None = None
    """Mean of each channel, in [0, 1], that the model was trained with. Default: what its format says."""
    victim_std: tuple[float, float, float] | None = None
    """Standard deviation of each channel, likewise."""
    trust_checkpoint: bool = False
    """Unpickle --victim in full where nothing else will do. That runs any code that its maker put into it."""
    trial: int | None = None
    """A trial of the study's front. Default: the recommended one."""
    output: Path | None = None
    """The file to write. Default: erased.safetensors beside the model."""
    image_size: int = 32
    """Images are resized to this many pixels a side: the model's."""
    flip: bool = True
    """Train on mirrored images, too; --no-flip where a mirrored image is another class, as with traffic signs."""
    seed: int = 0
    """Seeds the batches of both trainings."""
    cache: Path | None = None
    """Folder of decoded images. Default: this user's cache folder."""

    def __post_init__(self) -> None:
        require_range("--image-size", self.image_size, 16, 512)
        require_range("--seed", self.seed, 0, 2**31 - 1)
        self.normalisation  # noqa: B018 - raises for numbers that are out of range

    @property
    def normalisation(self) -> Normalisation | None:
        """What the user says that the model was trained with."""
        return chosen_normalisation(self.victim_mean, self.victim_std)

    @property
    def target(self) -> Path:
        """The file to write."""
        return (self.output or self.victim.with_name(f"erased{SUFFIX}")).expanduser().resolve()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 2 for what the user can mend, 130 for an interrupt."""
    display = Display(Console())
    os.umask(0o077)  # what is written is for its owner alone
    try:
        config = tyro.cli(ApplyConfig, args=arguments, prog="nad-study apply")
        apply(config, display)
    except (NadError, ReportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"error: {error.strerror or error} ({error.filename or 'no file'}); mend that and try again",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    return 0


def apply(config: ApplyConfig, display: Display) -> None:
    """Erase a model with a setting of a study; write it and its card.

    Raises: NadError or ReportError for what the user can mend, all but a full disk before anything slow.
    """
    target = config.target
    _require_free(target)
    setting = read_setting(config.summary.expanduser(), config.trial)
    model = load_foreign(config.victim.expanduser(), trust=config.trust_checkpoint, normalisation=config.normalisation)
    display.say(f"{config.victim.name}: {describe(model)}")
    _require_layers(setting, model)
    images = _read_images(config, model, display)
    display.say(
        f"setting: trial {setting.number} of {setting.study}, found with {setting.clean_images:,} clean images; here"
        f" are {len(images.train):,}"
    )
    device = driver_device()
    student, teacher = model.network().to(device), model.network().to(device)
    before = _accuracies(student, images, device)
    _erase(config, setting.erase, student, teacher, images, device, display)
    after = _accuracies(student, images, device)
    scores = [(name, before[name], after[name]) for name in before]
    facts = _facts(config, setting, model, images)
    state = copy_state(student)
    save(target, Checkpoint(state, {"facts": facts}))
    card = target.with_suffix(".md")
    write_text(card, model_card.of_applied({**facts, "this model": f"sha256 {state_digest(state)}"}, scores))
    for name, first, last in scores:
        display.say(f"accuracy on {name}: {percent(first)} before, {percent(last)} after")
    display.say(f"erased model: {target}")
    display.say(f"its card: {card}")


def _require_free(target: Path) -> None:
    if target.suffix != SUFFIX:
        raise ConfigError(f"--output {target} must end in {SUFFIX}")
    for path in (target, target.with_suffix(".md")):
        if path.exists():
            raise ConfigError(f"{path} is there already; remove it or choose another --output")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.access(target.parent, os.W_OK):
        raise ConfigError(f"you may not write to {target.parent}; choose another --output")


def _require_layers(setting: FoundSetting, model: ForeignModel) -> None:
    known = models.distillation_layers(model.name)
    missing = [layer for layer in setting.erase.weights if layer not in known]
    if missing:
        raise ConfigError(
            f"trial {setting.number} of {setting.study} distils {', '.join(missing)}, which {model.name} does not have:"
            f" it has {', '.join(known)}; choose another --trial"
        )


def _read_images(config: ApplyConfig, model: ForeignModel, display: Display) -> Owned:
    with display.stage("images", "read") as step:
        images = load_owned(
            config.data.expanduser(),
            cache_dir=cache_folder(config.cache),
            image_size=config.image_size,
            progress=lambda _stage, done, total: step(done, total),
        )
    if len(images.class_names) != model.classes:
        raise DataError(
            f"{config.data / 'train'} has {len(images.class_names)} class folders, the model in {config.victim} tells"
            f" {model.classes} classes apart; give one folder for each, in the order of its labels"
        )
    return images


def _erase(
    config: ApplyConfig,
    setting: EraseConfig,
    student: nn.Module,
    teacher: nn.Module,
    images: Owned,
    device: torch.device,
    display: Display,
) -> None:
    with display.stage("teacher", "epochs") as step:
        step(0, TEACHER.epochs)
        batches = generator(config.seed, "teacher")
        make_teacher(teacher, images.train, flip=config.flip, generator=batches, device=device, progress=step)
    with display.stage("erase", "epochs") as step:
        step(0, setting.epochs)

        def watch(epoch: int, model: nn.Module) -> float:
            step(epoch, setting.epochs)
            # There are no images to validate on: patience has only those that the erase trains on
            return 0.0 if setting.patience is None else accuracy(model, images.train, device=device)

        batches = generator(config.seed, "erase")
        distil(student, teacher, images.train, setting, flip=config.flip, generator=batches, device=device, watch=watch)


def _accuracies(model: nn.Module, images: Owned, device: torch.device) -> dict[str, float]:
    """By name of the images. On the defender's own, the model's says whether classes and sizes are what it expects."""
    parts = {"your own images (train/)": images.train, "test images (test/)": images.test}
    return {name: accuracy(model, part, device=device) for name, part in parts.items() if part is not None}


def _facts(config: ApplyConfig, setting: FoundSetting, model: ForeignModel, images: Owned) -> dict[str, str]:
    chosen = ", ".join(f"{name} {value}" for name, value in readable_params(setting.params).items())
    return {
        "model": describe(model),
        "before": f"sha256 {state_digest(model.state)}",
        "setting": f"trial {setting.number} of the study {setting.study}: {chosen}",
        "clean images": f"{len(images.train):,}; the setting was found with {setting.clean_images:,}",
        "image size, mirrored": f"{config.image_size}, {'yes' if config.flip else 'no'}",
        "seed": str(config.seed),
    }


if __name__ == "__main__":
    sys.exit(main())

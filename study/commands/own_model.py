"""Shared by apply and defend: reading a model and images, scoring, writing the result."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

import torch
import tyro
from rich.console import Console
from torch import nn

from nad import attacks, judging
from nad.checkpoints import Checkpoint, State, copy_state, save, state_digest
from nad.data.folder import Owned, load_owned
from nad.errors import ConfigError, DataError, NadError, require_range
from nad.formats import ForeignModel, load_foreign
from nad.models.normalisation import Normalisation
from nad.threads import following_load, said
from nad.trained_on import TrainedOn
from reports.files import ReportError
from reports.formatting import percent
from reports.streams import show_any_text
from study.commands.scoring import TriggerOptions
from study.display.progress import Display
from study.options.own_parts import USUAL_IMAGE_SIZE, chosen_normalisation, image_settings
from study.options.paths import expanded
from study.record.folder import cache_folder
from study.record.writing import write_text
from study.stages.model_card import Score
from study.stages.victim_file import announce, describe

SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class OwnModelConfig(TriggerOptions):
    """A model, its clean images, and the new model's file."""

    default_name: ClassVar[str]
    """Of the new file, without its suffix."""

    victim: Path
    """The model: a file of this tool, of the released NAD code or of BackdoorBench, a state dict, or safetensors."""
    data: Path
    """Clean images: a folder with train/ for the work, perhaps test/ for scores, and in each one folder per class,
    in the order of the model's labels."""
    victim_mean: tuple[float, float, float] | None = None
    """Mean of each channel, in [0, 1], in the model's training. Default: from its file's format."""
    victim_std: tuple[float, float, float] | None = None
    """Standard deviation of each channel, likewise."""
    trust_checkpoint: bool = False
    """Unpickle --victim in full if nothing else works. That runs any code in the file."""
    output: Path | None = None
    """The file to write. Default: erased.safetensors beside the model, or defended.safetensors."""
    image_size: int | None = None
    """Images are resized to this many pixels a side. Default: as recorded in the model's file, or 32."""
    flip: Annotated[bool | None, tyro.conf.DisallowNone] = None
    """Train on mirrored images, too; --no-flip if a mirrored image is another class, as with traffic signs. Default: as
    recorded in the model's file, or --flip."""
    allow_guessing: bool = False
    """Accept a model that only guesses on the images."""
    seed: int = 0
    """Seed of all random draws."""
    cache: Path | None = None
    """Folder of decoded images. Default: this user's cache folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.victim.name:
            raise ConfigError(f"--victim {str(self.victim)!r} names no file; give that of the model")
        require_range("--image-size", self.used_image_size, 16, 512)
        require_range("--seed", self.seed, 0, 2**31 - 1)
        self.normalisation  # noqa: B018 - raises for numbers out of range

    @property
    def used_image_size(self) -> int:
        """Pixels a side."""
        return USUAL_IMAGE_SIZE if self.image_size is None else self.image_size

    @property
    def used_flip(self) -> bool:
        """True to train on mirrored images, too."""
        return self.flip is not False

    @property
    def normalisation(self) -> Normalisation | None:
        """The user's normalisation, or None."""
        return chosen_normalisation(self.victim_mean, self.victim_std)

    @property
    def output_file(self) -> Path:
        """The file to write."""
        return (
            expanded(self.output, "--output")
            if self.output
            else expanded(self.victim, "--victim").with_name(f"{self.default_name}{SUFFIX}")
        ).resolve()


C = TypeVar("C", bound=OwnModelConfig)


def run_command(work: Callable[[Display], None]) -> int:
    """Run a command; returns 0, 2 for a mistake, 130 for an interrupt."""
    show_any_text()
    os.umask(0o077)  # new files are for their owner alone
    try:
        with following_load():
            work(Display(Console()))
    except (NadError, ReportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # the output's reader has left
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


def require_ready(config: OwnModelConfig) -> None:
    """Raise NadError for an output that cannot be written, or an unusable trigger; asked before anything slow."""
    require_free(config.output_file)
    config.made_attack  # noqa: B018 - reads the trigger's file


def require_free(target: Path) -> None:
    """Raise ConfigError if a model and its card cannot be written or exist; creates nothing."""
    if target.suffix != SUFFIX:
        raise ConfigError(f"--output {target} must end in {SUFFIX}")
    for path in (target, target.with_suffix(".md")):
        if path.exists():
            raise ConfigError(f"{path} is there already; remove it or choose another --output")
    nearest = next(folder for folder in target.parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ConfigError(f"you may not write to {nearest}; choose another --output")


def read_model(config: C, display: Display) -> tuple[C, ForeignModel]:
    """The model in --victim, introduced to the user, and the settings completed from its file.

    Raises: CheckpointError for an unusable file; ConfigError for settings in conflict with it.
    """
    model = load_foreign(
        expanded(config.victim, "--victim"), trust=config.trust_checkpoint, normalisation=config.normalisation
    )
    announce(model, config.victim.name, display)
    size, flip = image_settings(config.image_size, config.flip, model.trained_on)
    return replace(config, image_size=size, flip=flip), model


def read_images(config: OwnModelConfig, model: ForeignModel, display: Display) -> Owned:
    """The images in --data.  Raises: DataError if their classes are not the model's."""
    with display.stage("images", "read") as step:
        images = load_owned(
            expanded(config.data, "--data"),
            cache_dir=cache_folder(config.cache),
            image_size=config.used_image_size,
            progress=lambda _stage, done, total: step(done, total),
        )
    for remark in images.remarks:
        display.say(remark)
    if len(images.class_names) != model.classes:
        raise DataError(
            f"{config.data / 'train'} has {len(images.class_names)} class folders, the model in {config.victim} tells"
            f" {model.classes} classes apart; give one folder for each, in the order of its labels"
        )
    model.trained_on.require_class_names(images.class_names, str(config.data / "train"))
    return images


def require_known(config: OwnModelConfig, model: nn.Module, images: Owned, device: torch.device) -> None:
    """Raise DataError for a model that only guesses, without --allow-guessing."""
    if not config.allow_guessing:
        judging.require_known(model, images.train, allow="add --allow-guessing", device=device)


def write_model(
    config: OwnModelConfig,
    model: nn.Module,
    class_names: Sequence[str],
    facts: Mapping[str, str],
    scores: Sequence[Score],
    card: Callable[[Mapping[str, str], Sequence[Score]], str],
    what: str,
    display: Display,
) -> None:
    """Write a model and its card, and print its scores.

    what: the model's name in messages.
    """
    state: State = copy_state(model)
    known = TrainedOn(image_size=config.used_image_size, flip=config.used_flip, class_names=tuple(class_names))
    recorded = {"facts": dict(facts), "scores": [score._asdict() for score in scores]}
    save(config.output_file, Checkpoint(state, {**recorded, **known.card()}))
    beside = config.output_file.with_suffix(".md")
    write_text(beside, card({**facts, "this model": f"sha256 {state_digest(state)}"}, scores))
    for score in scores:
        display.say(f"{score.kind} on {score.images}: {percent(score.before)} before, {percent(score.after)} after")
    display.say(f"{what}: {config.output_file}")
    display.say(f"its card: {beside}")


def shared_facts(config: OwnModelConfig, model: ForeignModel) -> tuple[dict[str, str], dict[str, str]]:
    """A card's facts: about the original model, and about the work on it."""
    with following_load() as threads:
        steps = ", ".join(f"{count}: {taken:,}" for count, taken in said(threads.steps).items())
    attack = config.made_attack
    trigger = {} if attack is None else {"trigger of ASR": json.dumps(attacks.describe(attack))}
    return {"model": "; ".join((describe(model), *model.remarks)), "before": f"sha256 {state_digest(model.state)}"}, {
        **trigger,
        "threads": f"steps by number of threads: {steps}",
        "image size, mirrored": f"{config.used_image_size}, {'yes' if config.used_flip else 'no'}",
        "seed": str(config.seed),
    }

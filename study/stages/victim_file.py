"""A victim from a file: read it, check it, score it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from nad import data
from nad.errors import ConfigError
from nad.evaluation import predict
from nad.formats import ForeignModel, PoisonedTest, load_foreign
from nad.judging import CAUSES
from nad.scenario import Scenario
from nad.trained_on import TrainedOn
from nad.victim import Victim, require_above_chance, require_backdoor, score_state
from study.display.progress import Display
from study.engine.devices import driver_device
from study.options.config import StudyConfig
from study.options.own_parts import image_settings
from study.options.paths import expanded
from study.options.victim import VictimOptions
from study.record.provenance import Source

_REMEDY = (
    "--attack and --target must be those that it was trained with, a trigger of your own goes with --attack custom"
    " --trigger FILE"
)
_BLIND_REMEDY = f"perhaps {CAUSES} (--image-size, --victim-mean, --victim-std); mend that"


def read_victim(config: StudyConfig, display: Display) -> tuple[StudyConfig, Source]:
    """The settings with the architecture of the model in --victim, and this model; without one, the recipe.

    Raises: CheckpointError for an unusable file.
    """
    options = config.victim
    if options.victim is None:
        return config, config.recipe
    foreign = load_foreign(
        expanded(options.victim, "--victim"),
        model=options.model,
        trust=options.trust_checkpoint,
        normalisation=options.normalisation,
    )
    announce(foreign, options.victim.name, display)
    known = foreign.trained_on
    if options.dataset == "gtsrb":
        known = replace(known, flip=None)  # gtsrb is never mirrored; a model or an old record may say otherwise
    _require_resizable(options, known)
    size, flip = image_settings(options.image_size, options.flip, known)
    return config.changed(model=foreign.name, image_size=size, flip=flip), foreign


def _require_resizable(options: VictimOptions, known: TrainedOn) -> None:
    """Raise ConfigError for a data set of fixed size that is not the model's."""
    data_dir = options.data_dir and expanded(options.data_dir, "--data-dir")
    size, fixed = known.image_size, data.fixed_size(options.dataset, data_dir)
    if size is not None and fixed not in (None, size):
        raise ConfigError(
            f"the model in --victim was trained on images of {size}x{size} pixels, those of {options.dataset} are"
            f" {fixed}x{fixed} and are not resized; choose the --dataset that it was trained on, or --dataset folder"
        )


def announce(foreign: ForeignModel, file_name: str, display: Display) -> None:
    """Print a file's contents and remarks."""
    for sentence in (describe(foreign), *foreign.remarks):
        display.say(f"{file_name}: {sentence}")


def describe(foreign: ForeignModel) -> str:
    """A file's contents in a few words."""
    pixels = "pixels in [0, 1]"
    if foreign.normalisation is not None:
        pixels = f"pixels normalised with {foreign.normalisation}"
    return f"format {foreign.format}, {foreign.name}, {foreign.classes} classes, {pixels}"


def require_classes(source: Source, scenario: Scenario) -> None:
    """Raise NadError for a model from a file with other classes than the data set's."""
    dataset = scenario.dataset
    if not isinstance(source, ForeignModel):
        return
    if source.classes != dataset.classes:
        raise ConfigError(
            f"the model in --victim tells {source.classes} classes apart, the data set {dataset.name} has"
            f" {dataset.classes}; choose the --dataset that it was trained on"
        )
    source.trained_on.require_class_names(dataset.class_names, f"the data set {dataset.name}")


def accept_victim(foreign: ForeignModel, scenario: Scenario, display: Display, *, allow_weak: bool) -> Victim:
    """The model as the study's victim, checked like a trained one.

    Raises: WeakBackdoor for a model deaf to the attack's trigger, or no better than guessing, unless allow_weak.
    """
    scores = score_state(foreign.state, foreign.name, scenario, scenario.validation, driver_device())
    display.say(f"victim: validation ASR {scores.asr:.1%}, ACC {scores.acc:.1%}")
    origin: dict[str, Any] = {
        "format": foreign.format,
        "normalisation": None if foreign.normalisation is None else asdict(foreign.normalisation),
        "poisoned_test": None,
    }
    remedy = _REMEDY
    if foreign.poisoned_test is not None:
        count, target = len(foreign.poisoned_test.data), foreign.poisoned_test.target
        asr = _asr_on_its_own(foreign, foreign.poisoned_test)
        display.say(f"on the {count:,} poisoned test images that came with it, meant for label {target}: ASR {asr:.1%}")
        origin["poisoned_test"] = {"images": count, "target": target, "asr": asr}
        remedy += f"; on its own poisoned test images, meant for label {target}, its ASR is {asr:.3f}"
    victim = Victim(foreign.state, scores, seconds=0.0, origin=origin)
    if not allow_weak:
        require_above_chance(victim, scenario.validation.clean.labels, remedy=_BLIND_REMEDY)
        require_backdoor(victim, remedy=remedy)
    return victim


def _asr_on_its_own(foreign: ForeignModel, given: PoisonedTest) -> float:
    """ASR on the file's own poisoned test images."""
    device = driver_device()
    predicted = predict(foreign.network().to(device), given.data.images, device=device)
    return int((predicted == given.target).sum()) / len(given.data)

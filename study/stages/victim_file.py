"""A victim from a file instead of one that the study trains: read, checked, and tried."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from nad.errors import ConfigError
from nad.evaluation import predict
from nad.formats import ForeignModel, PoisonedTest, load_foreign
from nad.scenario import Scenario
from nad.victim import Victim, require_backdoor, require_sight, score_state
from study.display.progress import Display
from study.engine.devices import driver_device
from study.options.config import StudyConfig
from study.record.provenance import Source

_REMEDY = (
    "--attack and --target must be those that it was trained with, a trigger of your own goes with --attack custom"
    " --trigger FILE"
)
_BLIND_REMEDY = (
    "the classes must be in the order of its labels, the images of its --image-size, and normalised as in its training"
    " (--victim-mean, --victim-std)"
)


def read_victim(config: StudyConfig, display: Display) -> tuple[StudyConfig, Source]:
    """The settings with the architecture of the model that --victim names, and that model, after a line about it.

    The settings as they are, and the recipe, where the study trains its own.
    Raises: CheckpointError for a file that cannot be used.
    """
    if config.victim is None:
        return config, config.recipe
    foreign = load_foreign(
        config.victim.expanduser(),
        model=config.model,
        trust=config.trust_checkpoint,
        normalisation=config.normalisation,
    )
    introduce(foreign, config.victim.name, display)
    return replace(config, model=foreign.name), foreign


def introduce(foreign: ForeignModel, file_name: str, display: Display) -> None:
    """Say what a file holds, and what the user should know of it."""
    for sentence in (describe(foreign), *foreign.remarks):
        display.say(f"{file_name}: {sentence}")


def describe(foreign: ForeignModel) -> str:
    """What a file holds, in a few words."""
    pixels = "pixels in [0, 1]"
    if foreign.normalisation is not None:
        mean, std = (
            ", ".join(f"{value:g}" for value in part)
            for part in (foreign.normalisation.mean, foreign.normalisation.std)
        )
        pixels = f"pixels normalised with mean {mean} and standard deviation {std}"
    return f"format {foreign.format}, {foreign.name}, {foreign.classes} classes, {pixels}"


def require_classes(source: Source, scenario: Scenario) -> None:
    """Raise ConfigError for a model from a file that tells more or fewer classes apart than the data set has."""
    dataset = scenario.dataset
    if isinstance(source, ForeignModel) and source.classes != dataset.classes:
        raise ConfigError(
            f"the model in --victim tells {source.classes} classes apart, the data set {dataset.name} has"
            f" {dataset.classes}; choose the --dataset that it was trained on"
        )


def take(foreign: ForeignModel, config: StudyConfig, scenario: Scenario, display: Display) -> Victim:
    """The model as the study's victim, checked like a trained one.

    Raises: WeakBackdoor where it does not obey the chosen attack's trigger, or tells no images apart, unless the
    settings allow it.
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
    if not config.allow_weak_backdoor:
        require_backdoor(victim, remedy=remedy)
        require_sight(victim, scenario.dataset.classes, remedy=_BLIND_REMEDY)
    return victim


def _asr_on_its_own(foreign: ForeignModel, given: PoisonedTest) -> float:
    """What its maker measured, whatever attack is chosen here."""
    device = driver_device()
    predicted = predict(foreign.network().to(device), given.data.images, device=device)
    return int((predicted == given.target).sum()) / len(given.data)

"""Options of a user's own trigger or victim: needs and contradictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nad.attacks.custom import Custom
from nad.attacks.refool import Refool
from nad.attacks.trojan import Trojan
from nad.errors import ConfigError
from nad.models.normalisation import Normalisation
from nad.trained_on import TrainedOn

if TYPE_CHECKING:
    from study.options.victim import VictimOptions

USUAL_IMAGE_SIZE = 32
"""Default pixels a side."""


def require_own_parts(options: VictimOptions) -> None:
    """Raise ConfigError for options without their --trigger or --victim, or in contradiction to it."""
    require_trigger_file(options.attack, options.trigger)
    if options.victim is None and options.victim_mean is not None:
        raise ConfigError("--victim-mean and --victim-std are about a --victim; name its file")
    if options.victim is None and options.teacher is None and options.trust_checkpoint:
        raise ConfigError("--trust-checkpoint is about a --victim or a --teacher; name its file")
    if options.teacher is not None and options.teacher_model is not None:
        raise ConfigError(
            "--teacher-model trains a second victim for the teachers, and --teacher is one; leave one out"
        )
    if options.victim is not None:
        _refuse_what_takes_a_recipe(options)


def require_trigger_file(attack: str, trigger: Path | None) -> None:
    """Raise ConfigError for --trigger with another attack than custom, or custom without it."""
    if trigger is not None and attack != Custom.name:
        raise ConfigError(f"--trigger is for the attack custom, not for {attack}; add --attack custom")
    if attack == Custom.name and trigger is None:
        raise ConfigError("the attack custom needs a trigger of your own; name its file with --trigger")


def _refuse_what_takes_a_recipe(options: VictimOptions) -> None:
    """Raise ConfigError for options training another model by the victim's recipe: a file does not hold it."""
    for asked, why, remedy in (
        (options.reference, "--reference compares with a clean model", "leave it out"),
        (options.teacher_model is not None, "--teacher-model trains a second victim", "leave it out"),
    ):
        if asked:
            raise ConfigError(f"{why} of the victim's recipe, and a --victim has none; {remedy}")
    require_without_recipe(options.attack, options.attack_settings)


def require_without_recipe(attack: str, settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a trigger that is made by training models like the victim."""
    for asked, why, remedy in (
        (
            attack == Trojan.name,
            "the attack trojan makes its trigger on a clean model",
            "give the trigger itself with --attack custom --trigger FILE",
        ),
        (
            attack == Refool.name and settings.get("rounds", 0) > 0,
            "the attack refool selects its reflections by training models",
            "leave rounds at 0",
        ),
    ):
        if asked:
            raise ConfigError(f"{why} of the victim's recipe, and a --victim has none; {remedy}")


def image_settings(size: int | None, flip: bool | None, model: TrainedOn) -> tuple[int | None, bool | None]:
    """Image size and mirroring, from the command, else from the model, else None.

    Raises: ConfigError for a contradiction between them.
    """
    if size is not None and model.image_size not in (None, size):
        raise ConfigError(
            f"--image-size {size} contradicts the model in --victim, trained on images of"
            f" {model.image_size}x{model.image_size} pixels; leave it out, or give --image-size {model.image_size}"
        )
    if flip is not None and model.flip not in (None, flip):
        given, wanted = ("--flip", "without") if flip else ("--no-flip", "with")
        raise ConfigError(f"{given} contradicts the model in --victim, trained {wanted} mirrored images; leave it out")
    return size or model.image_size, model.flip if flip is None else flip


def chosen_normalisation(
    mean: tuple[float, float, float] | None, std: tuple[float, float, float] | None
) -> Normalisation | None:
    """The normalisation, if given.  Raises: ConfigError for one of the two alone, or a bad number."""
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ConfigError("--victim-mean and --victim-std belong together; give both or none")
    return Normalisation(mean, std)

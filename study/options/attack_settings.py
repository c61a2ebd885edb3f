"""An attack's own settings on the command line, as NAME=VALUE."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from nad.attacks import ATTACKS
from nad.attacks.allowed import allowed_of, needs_of
from nad.attacks.base import Attack
from nad.errors import ConfigError, unknown_name
from study.options.setting_texts import as_text, listed, read_settings

OWN_OPTION = {
    "target": "--target",
    "poison_rate": "--poison-rate",
    "label_mode": "--label-mode",
    "reflections": "--reflections",
    "pattern": "--trigger",
}
"""Settings with an option of their own."""


def parse(attack: str, texts: Sequence[str]) -> dict[str, Any]:
    """Settings by name, from texts such as steps=100.

    Raises: ConfigError for a text of another form, an unknown setting, a value of another type, or a setting given
    twice, or without effect. The attack itself checks ranges.
    """
    defaults = _defaults(attack)

    def unknown(text: str, name: str) -> ConfigError:
        if name in OWN_OPTION:
            return ConfigError(f"--attack-args {text!r}: {name} has an option of its own, {OWN_OPTION[name]}")
        return unknown_name(f"setting of the attack {attack!r}", name, defaults)

    found = read_settings("--attack-args", texts, defaults, unknown)
    for name, other in needs_of(ATTACKS[attack]).items():
        if name in found and not found.get(other, defaults[other]):
            raise ConfigError(
                f"--attack-args {name}={as_text(found[name])} has no effect without {other}; give {other} too, or leave"
                f" {name} out"
            )
    return found


def describe_settings(attack: str) -> str:
    """This attack in --help: a sentence, its settings with their defaults, and their ranges."""
    defaults = _defaults(attack)
    first = inspect.cleandoc(ATTACKS[attack].__doc__ or "").splitlines()[0]
    own = f" Its settings for --attack-args, with their defaults: {listed(defaults)}" if defaults else ""
    allowed = "; ".join(f"{name} {values}" for name, values in allowed_of(ATTACKS[attack]).items() if name in defaults)
    return f"The attack {attack}: {first}{own}" + (f"\n\nWhat they may be: {allowed}." if allowed else "")


def remedy(attack: Attack, planted: int, could: int, *, selectable: bool) -> str:
    """The remedy for a weak backdoor of this attack.

    planted: poisoned training images.  could: images able to carry the trigger.
    selectable: enough images for selecting by training, see `nad.reflection_selection`.
    """
    stronger = dict(attack.stronger)
    if not selectable:
        of_rounds = {name for name, other in needs_of(type(attack)).items() if other == "rounds"} | {"rounds"}
        stronger = {name: value for name, value in stronger.items() if name not in of_rounds}
    plant = f", plant a stronger trigger (--attack-args {listed(stronger)})" if stronger else ""
    more = f"poison more than {planted:,} of the {could:,} images that can carry its trigger"
    if planted == could:
        more = f"all {could:,} images that can carry its trigger do: give more of them"
    return f"{more}, train longer{plant}"


def _defaults(attack: str) -> dict[str, Any]:
    return {
        each.name: each.default
        for each in ATTACKS[attack].settings()
        if each.name not in OWN_OPTION and isinstance(each.default, int | float | str | tuple)
    }

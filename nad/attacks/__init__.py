"""The attacks, by name. A new one is a file that implements `Attack` and a line in ATTACKS."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nad.attacks.badnets import BadNets
from nad.attacks.base import (
    USUAL_RATE,
    Attack,
    HasIdleSettings,
    LabelMode,
    Poisoned,
    Versioned,
    poison,
    settings_of,
    tensor_digest,
)
from nad.attacks.blend import Blend
from nad.attacks.cl import CL
from nad.attacks.custom import Custom
from nad.attacks.reflection_pool import ReflectionPool, pool_from_folder
from nad.attacks.refool import Refool
from nad.attacks.sig import SIG
from nad.attacks.trigger_pattern import TriggerPattern, pattern_from_file
from nad.attacks.trojan import Trojan
from nad.errors import ConfigError, unknown_name

__all__ = ["ATTACKS", "Attack", "LabelMode", "Poisoned", "describe", "make", "poison"]

ATTACKS: Mapping[str, type[Attack]] = {
    "badnets": BadNets,
    "blend": Blend,
    "cl": CL,
    "custom": Custom,
    "refool": Refool,
    "sig": SIG,
    "trojan": Trojan,
}


_READ: Mapping[str, Callable[[Path], Any]] = {"reflections": pool_from_folder, "pattern": pattern_from_file}
"""Settings that may be given as a path."""


def make(name: str, **settings: Any) -> Attack:
    """The attack of this name; a setting of None stands for the attack's default.

    settings: fields of the attack. A poison rate that is not given is the usual one of the label mode, and a folder
    given as `reflections` becomes the pool cut from its photographs, a file given as `pattern` the trigger in it. A
    blend ratio that such a file names holds where none is given.
    Raises: ConfigError for an unknown attack, a setting that it does not have, or a value out of range; DataError for
    a folder of reflections or a trigger that cannot be used.
    """
    if name not in ATTACKS:
        raise unknown_name("attack", name, ATTACKS)
    attack_type = ATTACKS[name]
    given = {key: value for key, value in settings.items() if value is not None}
    allowed = [field.name for field in settings_of(attack_type)]
    for key in given:
        if key not in allowed:
            raise ConfigError(f"attack {name!r} has no setting {key!r}; its settings: {', '.join(sorted(allowed))}")
    for key, read in _READ.items():
        if isinstance(given.get(key), str | Path):
            given[key] = read(Path(given[key]))
    pattern = given.get("pattern")
    if isinstance(pattern, TriggerPattern) and pattern.blend_ratio is not None and "blend_ratio" in allowed:
        given.setdefault("blend_ratio", pattern.blend_ratio)
    mode = given.get("label_mode", attack_type.label_mode)
    if mode in USUAL_RATE:
        given.setdefault("poison_rate", USUAL_RATE[mode])
    return attack_type(**given)


def remarks(attack: Attack) -> tuple[str, ...]:
    """What the user should know of the photographs that an attack reflects, a line each."""
    pools = [getattr(attack, field.name) for field in settings_of(type(attack))]
    return tuple(remark for pool in pools if isinstance(pool, ReflectionPool) for remark in pool.remarks)


def describe(attack: Attack) -> dict[str, Any]:
    """Name and all settings in JSON's types: the same for equal settings, so fit for a cache key and for the record.

    What was made beforehand for an attack is no setting, and is left out; so are settings without an effect, such as
    the target where labels go all to all. The version of an attack that has one is told from the second on.
    Raises: ConfigError for a setting that JSON cannot hold.
    """
    version = attack.version if isinstance(attack, Versioned) else 1
    idle = set(attack.idle) if isinstance(attack, HasIdleSettings) else set()
    if attack.label_mode == "all-to-all":
        idle.add("target")
    settings = {field.name: getattr(attack, field.name) for field in settings_of(attack) if field.name not in idle}
    told = {"version": version} if version != 1 else {}
    return {"name": attack.name, **told, **{key: _plain(attack, key, value) for key, value in settings.items()}}


def _plain(attack: Attack, setting: str, value: Any) -> Any:
    """In JSON's types; pixels and other numbers in bulk by their digest."""
    if isinstance(value, ReflectionPool | TriggerPattern):
        return value.describe()
    if isinstance(value, torch.Tensor | np.ndarray):
        return {"shape": list(value.shape), "sha256": tensor_digest(torch.as_tensor(value))}
    if isinstance(value, tuple | list):
        return [_plain(attack, setting, each) for each in value]
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the setting {setting!r} of the attack {attack.name!r} is a {type(value).__name__}, which no record can"
            " hold; make it a number, a text, a truth value, a tensor, or a tuple of these"
        ) from error
    return value

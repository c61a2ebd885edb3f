"""The attacks by name. A new one is a file with a subclass of `Attack`, and a line in ATTACKS."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nad.attacks.badnets import BadNets
from nad.attacks.base import USUAL_RATE, Attack, LabelMode
from nad.attacks.blend import Blend
from nad.attacks.cl import CL
from nad.attacks.custom import Custom
from nad.attacks.poisoning import Poisoned, poison
from nad.attacks.reflection_pool import ReflectionPool, pool_from_folder
from nad.attacks.refool import Refool
from nad.attacks.sig import SIG
from nad.attacks.trigger_pattern import TriggerPattern, pattern_from_file
from nad.attacks.trojan import Trojan
from nad.data.fingerprint import tensor_digest
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
"""Readers of settings given as a path."""


def make(name: str, **settings: Any) -> Attack:
    """The attack of this name; a setting of None is the attack's default.

    settings: fields of the attack. The default poison rate is the usual one of the label mode. `reflections` may be a
    folder of photographs, `pattern` a file; what it tells of `blend_ratio` and `combine` is their default.
    Raises: ConfigError for an unknown attack or setting, or a value out of range; DataError for an unusable folder or
    file.
    """
    if name not in ATTACKS:
        raise unknown_name("attack", name, ATTACKS)
    attack_type = ATTACKS[name]
    given = {key: value for key, value in settings.items() if value is not None}
    allowed = [field.name for field in attack_type.settings()]
    for key in given:
        if key not in allowed:
            raise ConfigError(f"attack {name!r} has no setting {key!r}; its settings: {', '.join(sorted(allowed))}")
    for key, read in _READ.items():
        if isinstance(given.get(key), str | Path):
            given[key] = read(Path(given[key]))
    pattern = given.get("pattern")
    if isinstance(pattern, TriggerPattern):
        told = {key: getattr(pattern, key) for key in ("blend_ratio", "combine") if key in allowed}
        given = {key: value for key, value in told.items() if value is not None} | given
    mode = given.get("label_mode", attack_type.label_mode)
    if mode in USUAL_RATE:
        given.setdefault("poison_rate", USUAL_RATE[mode])
    try:
        return attack_type(**given)
    except TypeError as error:  # a class of somebody's own
        raise ConfigError(
            f"the attack {name!r} cannot be made: {error}; it needs a method `plant`, and a default for each field"
        ) from error


def remarks(attack: Attack) -> tuple[str, ...]:
    """What the user should know of the photographs that an attack reflects, a line each."""
    pools = [getattr(attack, field.name) for field in attack.settings()]
    return tuple(remark for pool in pools if isinstance(pool, ReflectionPool) for remark in pool.remarks)


def describe(attack: Attack) -> dict[str, Any]:
    """Name and settings in JSON's types, for cache keys and records: equal for equal settings.

    Leaves out `crafted`, `Attack.omitted`, the target of all-to-all labels, and a version of 1.
    Raises: ConfigError for a setting that JSON cannot hold.
    """
    omitted = (*attack.omitted, "target") if attack.label_mode == "all-to-all" else attack.omitted
    version = {"version": attack.version} if attack.version != 1 else {}
    names = [field.name for field in attack.settings() if field.name not in omitted]
    return {"name": attack.name, **version, **{name: _plain(attack, name, getattr(attack, name)) for name in names}}


def _plain(attack: Attack, setting: str, value: Any) -> Any:
    """The value in JSON's types; arrays by their digest."""
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

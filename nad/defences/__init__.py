"""The defences that stand beside NAD, by name. A new one is a file that implements `Defence` and a line in DEFENCES."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from nad.defences.anp import AdversarialNeuronPruning
from nad.defences.base import Deeds, Defence, Defended
from nad.defences.fine_pruning import FinePruning
from nad.defences.fine_tuning import FineTuning
from nad.defences.mode_connectivity import ModeConnectivityRepair
from nad.errors import ConfigError, unknown_name

__all__ = ["DEFENCES", "Deeds", "Defence", "Defended", "FineTuning", "describe", "make"]

DEFENCES: Mapping[str, type[Defence]] = {
    "fine-tuning": FineTuning,
    "fine-pruning": FinePruning,
    "mode-connectivity": ModeConnectivityRepair,
    "anp": AdversarialNeuronPruning,
}


def make(name: str, **settings: Any) -> Defence:
    """The defence of this name.

    Raises: ConfigError for a name that DEFENCES does not have, an unknown setting, or a value out of range.
    """
    if name not in DEFENCES:
        raise unknown_name("defence", name, DEFENCES)
    allowed = [field.name for field in fields(DEFENCES[name])]
    for key in settings:
        if key not in allowed:
            raise unknown_name(f"setting of the defence {name!r}", key, allowed)
    try:
        return DEFENCES[name](**settings)
    except TypeError as error:  # a class of somebody's own
        raise ConfigError(
            f"the defence {name!r} cannot be made: {error}; it needs a method `change`, and a default for each field"
        ) from error


def describe(defence: Defence) -> dict[str, Any]:
    """Name and all settings in JSON's types: the same for equal defences, so fit for the record.

    The version is told from the second on.
    """
    told = {"version": defence.version} if defence.version != 1 else {}
    return {"name": defence.name, **told, **asdict(defence)}

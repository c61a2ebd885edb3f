"""Rival defences by name. A new one is one file and one line in DEFENCES."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from nad.defences.anp import AdversarialNeuronPruning
from nad.defences.base import Defence, Defended, Stats
from nad.defences.fine_pruning import FinePruning
from nad.defences.fine_tuning import BackdoorBenchTuning, FineTuning
from nad.defences.fst import FeatureShiftTuning
from nad.defences.ft_sam import SharpnessAwareTuning
from nad.defences.i_bau import ImplicitUnlearning
from nad.defences.mode_connectivity import ModeConnectivityRepair
from nad.errors import ConfigError, unknown_name
from nad.training import described

__all__ = ["DEFENCES", "Defence", "Defended", "FineTuning", "Stats", "describe", "make"]

DEFENCES: Mapping[str, type[Defence]] = {
    "fine-tuning": FineTuning,
    "fine-tuning-backdoorbench": BackdoorBenchTuning,
    "fine-pruning": FinePruning,
    "mode-connectivity": ModeConnectivityRepair,
    "anp": AdversarialNeuronPruning,
    "fst": FeatureShiftTuning,
    "i-bau": ImplicitUnlearning,
    "ft-sam": SharpnessAwareTuning,
}


def make(name: str, **settings: Any) -> Defence:
    """The defence of this name.

    Raises: ConfigError for an unknown name or setting, or a value out of range.
    """
    if name not in DEFENCES:
        raise unknown_name("defence", name, DEFENCES)
    allowed = [field.name for field in fields(DEFENCES[name])]
    for key in settings:
        if key not in allowed:
            raise unknown_name(f"setting of the defence {name!r}", key, allowed)
    try:
        return DEFENCES[name](**settings)
    except TypeError as error:  # a user's own class
        raise ConfigError(
            f"the defence {name!r} cannot be made: {error}; it needs a method `change`, and a default for each field"
        ) from error


def describe(defence: Defence) -> dict[str, Any]:
    """Name, settings and (from 2 on) version in JSON's types, for the record."""
    told = {"version": defence.version} if defence.version != 1 else {}
    return {"name": defence.name, **told, **described(defence)}

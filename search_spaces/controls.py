"""The controls: settings run first in every study, whatever its space."""

from __future__ import annotations

from dataclasses import replace

from nad.erasure import PRESETS, EraseConfig
from nad.models import pair_layers
from search_spaces.base import Control, Domain, Point

PAPER_FRACTION = 0.05
"""Of the paper's main table; the controls use the study's nearest fraction."""


def controls(domain: Domain) -> tuple[Control, ...]:
    """Fine-tuning and NAD, each as published and at a low learning rate; fine-tuning at every clean fraction."""
    usual = usual_fraction(domain)
    presets = {name: on_layers(preset, domain.layers) for name, preset in PRESETS.items()}
    tuning = presets["code"].twin()
    return (
        Control("fine-tuning", Point(usual, tuning)),
        Control("nad-paper", Point(usual, presets["paper"])),
        Control("nad-code", Point(usual, presets["code"])),
        Control("fine-tuning-low-lr", Point(usual, presets["low-lr"].twin())),
        Control("nad-low-lr", Point(usual, presets["low-lr"])),
        *(Control("fine-tuning", Point(other, tuning)) for other in domain.clean_fractions if other != usual),
    )


def usual_fraction(domain: Domain) -> float:
    """The study's clean fraction nearest to the paper's."""
    return min(domain.clean_fractions, key=lambda fraction: abs(fraction - PAPER_FRACTION))


def on_layers(erase: EraseConfig, layers: tuple[str, ...]) -> EraseConfig:
    """The erase on a model's own layers, shallow to deep; `pair_layers` assigns its betas."""
    pairs = pair_layers(layers, erase.layers)
    return replace(erase, layers=tuple(pairs), betas=tuple(erase.weights[published] for published in pairs.values()))

"""The paper's hyperparameters: which layers are distilled, how strongly, for how long, on how much clean data.

Nobody has published how sensitive NAD is to these. The released code's betas were first (5000, 0, 0), then
(0, 0, 5000), then (500, 1000, 1000), so each layer can be left out and each beta spans two orders of magnitude.

The released code averages a layer's squared difference over its map, where the paper sums it. A group's map has a
quarter of the pixels of the one before, so what is one beta for all layers to the paper is a factor of four from group
to group here. The ranges meet both halfway: a factor of two.

The first steps shake the backdoor loose; as the classifier recovers, it comes back. So few epochs are part of the
space, and epochs are drawn by their logarithm.
"""

from __future__ import annotations

import optuna

from nad.erase import PRESETS, EraseConfig
from search_spaces.base import Control, Domain, Params, Point, SearchSpace

CLEAN_FRACTIONS = (0.01, 0.05, 0.1, 0.2)
"""The shares that the paper studies (section 4.4)."""

PAPER_FRACTION = 0.05
"""What the paper's main table is measured at; the controls use the nearest fraction that the study has."""

BETA_RANGE = (100.0, 10_000.0)
"""Of the deepest layer: two orders of magnitude around the released code's 1000; twice that for each layer above."""
BALANCED_BETA = 500.0
"""Of the deepest layer, where all layers weigh the same by the paper's sum; four times that for each layer above."""
EPOCHS_RANGE = (2, 20)
"""Of the published schedules, which divide the learning rate after the second epoch, to the released code's number."""
SHORT = 5
"""Epochs of the starts that end before the backdoor is back."""


def suggest(trial: optuna.Trial, domain: Domain) -> Point:
    """A subset of the layers, a beta for each chosen one, schedule and Cutout of a preset, epochs, clean data."""
    betas = {
        layer: trial.suggest_float(f"beta_{layer}", *beta_range(layer, domain.layers), log=True)
        for layer in domain.layers
        if trial.suggest_categorical(f"distil_{layer}", [True, False])
    }
    return Point(
        clean_fraction=trial.suggest_categorical("clean_fraction", domain.clean_fractions),
        erase=EraseConfig(
            layers=tuple(betas),
            betas=tuple(betas.values()),
            schedule=trial.suggest_categorical("schedule", [preset.schedule for preset in PRESETS.values()]),
            cutout=trial.suggest_categorical("cutout", [preset.cutout for preset in PRESETS.values()]),
            epochs=trial.suggest_int("epochs", *EPOCHS_RANGE, log=True),
        ),
    )


def beta_range(layer: str, layers: tuple[str, ...]) -> tuple[float, float]:
    """Smallest and largest beta of a layer; layers: all of the model's, shallow to deep."""
    factor = 2 ** _depth_left(layer, layers)
    return BETA_RANGE[0] * factor, BETA_RANGE[1] * factor


def _depth_left(layer: str, layers: tuple[str, ...]) -> int:
    return len(layers) - 1 - layers.index(layer)


def controls(domain: Domain) -> tuple[Control, ...]:
    """Fine-tuning at every clean fraction, with the released code's settings; NAD as published and as released."""
    usual = usual_fraction(domain)
    others = [fraction for fraction in domain.clean_fractions if fraction != usual]
    return (
        Control("fine-tuning", fine_tuning(domain.layers, usual)),
        Control("nad-paper", preset_point("paper", domain.layers, usual)),
        Control("nad-code", preset_point("code", domain.layers, usual)),
        *(Control("fine-tuning", fine_tuning(domain.layers, fraction)) for fraction in others),
    )


def starts(domain: Domain) -> tuple[Params, ...]:
    """Balanced betas, trained as each preset, for few epochs and for as many as the paper's.

    Balanced is the paper's one beta for all layers in the released code's units.
    """
    usual = usual_fraction(domain)
    return tuple(
        {**balanced_point(preset, domain.layers, usual), "epochs": epochs}
        for epochs in (SHORT, PRESETS["paper"].epochs)
        for preset in PRESETS.values()
    )


def usual_fraction(domain: Domain) -> float:
    """The study's clean fraction that is nearest to the paper's."""
    return min(domain.clean_fractions, key=lambda fraction: abs(fraction - PAPER_FRACTION))


def fine_tuning(layers: tuple[str, ...], clean_fraction: float) -> Params:
    """No distillation: beta = 0 in every layer."""
    return {
        **{f"distil_{layer}": False for layer in layers},
        **_training(PRESETS["code"]),
        "clean_fraction": clean_fraction,
    }


def preset_point(name: str, layers: tuple[str, ...], clean_fraction: float) -> Params:
    """A preset of `nad.erase` as a point of this space."""
    preset = PRESETS[name]
    betas = {layer: beta for layer, beta in zip(preset.layers, preset.betas, strict=True) if layer in layers}
    return {
        **{f"distil_{layer}": layer in betas for layer in layers},
        **{f"beta_{layer}": beta for layer, beta in betas.items()},
        **_training(preset),
        "clean_fraction": clean_fraction,
    }


def balanced_point(preset: EraseConfig, layers: tuple[str, ...], clean_fraction: float) -> Params:
    """Every layer with the weight that the paper's sum gives it, trained as the preset."""
    return {
        **{f"distil_{layer}": True for layer in layers},
        **{f"beta_{layer}": BALANCED_BETA * 4 ** _depth_left(layer, layers) for layer in layers},
        **_training(preset),
        "clean_fraction": clean_fraction,
    }


def _training(preset: EraseConfig) -> Params:
    return {"schedule": preset.schedule, "cutout": preset.cutout, "epochs": preset.epochs}


NAD = SearchSpace(suggest=suggest, controls=controls, starts=starts, clean_fractions=CLEAN_FRACTIONS)

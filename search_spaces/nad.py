"""The paper's hyperparameters: which layers are distilled, how strongly, for how long, on how much clean data.

Nobody has published how sensitive NAD is to these. The released code's betas were first (5000, 0, 0), then
(0, 0, 5000), then (500, 1000, 1000), so each layer can be left out and each beta spans two orders of magnitude.
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
"""Two orders of magnitude around the released code's 500 and 1000."""
EPOCHS_RANGE = (5, 20)


def suggest(trial: optuna.Trial, domain: Domain) -> Point:
    """A subset of the layers, a beta for each chosen one, schedule and Cutout of a preset, epochs, clean data."""
    betas = {
        layer: trial.suggest_float(f"beta_{layer}", *BETA_RANGE, log=True)
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
            epochs=trial.suggest_int("epochs", *EPOCHS_RANGE),
        ),
    )


def controls(domain: Domain) -> tuple[Control, ...]:
    """Fine-tuning at every clean fraction, with the released code's settings; NAD as published and as released."""
    usual = min(domain.clean_fractions, key=lambda fraction: abs(fraction - PAPER_FRACTION))
    others = [fraction for fraction in domain.clean_fractions if fraction != usual]
    return (
        Control("fine-tuning", fine_tuning(domain.layers, usual)),
        Control("nad-paper", preset_point("paper", domain.layers, usual)),
        Control("nad-code", preset_point("code", domain.layers, usual)),
        *(Control("fine-tuning", fine_tuning(domain.layers, fraction)) for fraction in others),
    )


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


def _training(preset: EraseConfig) -> Params:
    return {"schedule": preset.schedule, "cutout": preset.cutout, "epochs": preset.epochs}


NAD = SearchSpace(suggest=suggest, controls=controls, clean_fractions=CLEAN_FRACTIONS)

"""The paper's hyperparameters: distilled layers, betas, epochs, schedule and clean data.

NAD's sensitivity to these is unpublished. The released code's betas were first (5000, 0, 0), then (0, 0, 5000), then
(500, 1000, 1000): so each layer can be left out, and each beta spans two orders of magnitude. In the deepest layer they
end below 5000: that value ruined the classifier of the embedded data in both schedules.

The released code averages a layer's squared difference over its map; the paper sums it. A group's map has a quarter of
the pixels of the one before, so the paper's single beta becomes a factor of four from group to group here, in the
ranges too.

The first steps weaken the backdoor; as the classifier recovers, it comes back. So the space includes few epochs, drawn
by their logarithm.
"""

from __future__ import annotations

from optuna.trial import BaseTrial

from nad.erasure import PRESETS, EraseConfig
from nad.models import pair_layers
from search_spaces.base import Control, Domain, Params, Point, SearchSpace

CLEAN_FRACTIONS = (0.01, 0.05, 0.1, 0.2)
"""The paper's shares (section 4.4)."""

PAPER_FRACTION = 0.05
"""Of the paper's main table; the controls use the study's nearest fraction."""

BETA_RANGE = (30.0, 3000.0)
"""Of the deepest layer; times four for each layer above. The released betas lie inside."""
EPOCHS_RANGE = (2, 20)
"""From the published schedules' first drop of lr to the released code's length."""
SCHEDULES = tuple(preset.schedule for preset in PRESETS.values())
"""The published ones."""


def suggest(trial: BaseTrial, domain: Domain, schedules: tuple[str, ...] = SCHEDULES) -> Point:
    """Choose layers with betas, a schedule, a preset's Cutout, epochs and clean data."""
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
            schedule=trial.suggest_categorical("schedule", schedules),
            cutout=trial.suggest_categorical("cutout", [preset.cutout for preset in PRESETS.values()]),
            epochs=trial.suggest_int("epochs", *EPOCHS_RANGE, log=True),
        ),
    )


def beta_range(layer: str, layers: tuple[str, ...]) -> tuple[float, float]:
    """Smallest and largest beta of a layer; layers: all of the model's, shallow to deep."""
    factor = pixels(layer, layers)
    return BETA_RANGE[0] * factor, BETA_RANGE[1] * factor


def pixels(layer: str, layers: tuple[str, ...]) -> int:
    """Pixels of a layer's map as a multiple of the deepest layer's."""
    return int(4 ** (len(layers) - 1 - layers.index(layer)))


def controls(domain: Domain) -> tuple[Control, ...]:
    """Fine-tuning at every clean fraction, as in the released code; NAD as published and released."""
    usual = usual_fraction(domain)
    others = [fraction for fraction in domain.clean_fractions if fraction != usual]
    return (
        Control("fine-tuning", fine_tuning(domain.layers, usual)),
        Control("nad-paper", preset_point("paper", domain.layers, usual)),
        Control("nad-code", preset_point("code", domain.layers, usual)),
        *(Control("fine-tuning", fine_tuning(domain.layers, fraction)) for fraction in others),
    )


def usual_fraction(domain: Domain) -> float:
    """The study's clean fraction nearest to the paper's."""
    return min(domain.clean_fractions, key=lambda fraction: abs(fraction - PAPER_FRACTION))


def fine_tuning(layers: tuple[str, ...], clean_fraction: float) -> Params:
    """No distillation: beta = 0 in every layer."""
    return {
        **{f"distil_{layer}": False for layer in layers},
        **_training(PRESETS["code"]),
        "clean_fraction": clean_fraction,
    }


def preset_point(name: str, layers: tuple[str, ...], clean_fraction: float) -> Params:
    """A preset of `nad.erasure` as a point; `pair_layers` assigns its betas."""
    preset = PRESETS[name]
    betas = {
        layer: preset.betas[preset.layers.index(published)]
        for layer, published in pair_layers(layers, preset.layers).items()
    }
    return {
        **{f"distil_{layer}": layer in betas for layer in layers},
        **{f"beta_{layer}": beta for layer, beta in betas.items()},
        **_training(preset),
        "clean_fraction": clean_fraction,
    }


def _training(preset: EraseConfig) -> Params:
    return {"schedule": preset.schedule, "cutout": preset.cutout, "epochs": preset.epochs}


NAD = SearchSpace(suggest=suggest, controls=controls, clean_fractions=CLEAN_FRACTIONS, version=2)

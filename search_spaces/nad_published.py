"""The paper's hyperparameters, at its learning rate: layers, betas, epochs, schedule, Cutout and clean data.

NAD's sensitivity to these is unpublished. The released code's betas were first (5000, 0, 0), then (0, 0, 5000), then
(500, 1000, 1000): so each layer can be left out, and each beta spans two orders of magnitude. In the deepest layer they
end below 5000: that value ruined the classifier of the embedded data in both schedules.

The released code averages a layer's squared difference over its map; the paper sums it. A group's map has a quarter of
the pixels of the one before: the paper's single beta becomes a factor of four from group to group, here in the ranges.
"""

from __future__ import annotations

from optuna.trial import BaseTrial

from nad.erasure import PRESETS, EraseConfig
from search_spaces.base import Domain, Point, SearchSpace
from search_spaces.controls import controls
from search_spaces.fine_tuning import CLEAN_FRACTIONS

BETA_RANGE = (30.0, 3000.0)
"""Of the deepest layer; times four for each layer above. The released betas lie inside."""
EPOCHS_RANGE = (2, 20)
"""From the published schedules' first drop of lr to the released code's length, drawn by the logarithm."""
PUBLISHED = (PRESETS["paper"], PRESETS["code"])


def suggest(trial: BaseTrial, domain: Domain) -> Point:
    """Choose layers with betas, a published schedule and Cutout, epochs and clean data."""
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
            schedule=trial.suggest_categorical("schedule", [preset.schedule for preset in PUBLISHED]),
            cutout=trial.suggest_categorical("cutout", [preset.cutout for preset in PUBLISHED]),
            epochs=trial.suggest_int("epochs", *EPOCHS_RANGE, log=True),
        ),
    )


def beta_range(layer: str, layers: tuple[str, ...]) -> tuple[float, float]:
    """Smallest and largest beta of a layer; layers: all of the model's, shallow to deep."""
    factor = 4 ** (len(layers) - 1 - layers.index(layer))
    return BETA_RANGE[0] * factor, BETA_RANGE[1] * factor


NAD_PUBLISHED = SearchSpace(suggest=suggest, controls=controls, clean_fractions=CLEAN_FRACTIONS, version=1)

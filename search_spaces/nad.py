"""The default space: fine-tuning's, and the strength of each layer's distillation.

A good beta for one victim destroys another's classifier. The attention loss acts on normalised maps: the smaller the
features, the larger its gradient. One step changes a layer's attention in proportion to lr * beta / rms^2, where rms is
the root mean square of the victim's features. This is the strength; its range is the same for every victim and rate.
"""

from __future__ import annotations

import math
from dataclasses import replace

from optuna.trial import BaseTrial

from search_spaces import fine_tuning
from search_spaces.base import ROUNDING, Domain, Params, Point, SearchSpace, rounded
from search_spaces.controls import controls

STRENGTH_RANGE = (0.5, 200.0)
"""Of every layer. NAD as published and the good settings of CIFAR-10 lie inside.

The upper end spares the classifier. Refool on GTSRB (victim: ACC 99%), 5% clean, batch 32, all three groups: at 200,
ACC is 93 to 95% at lr 0.1 and 95 to 97% at 0.003, after 4 to 10 epochs. At 300 and lr 0.1 it is 70 to 97%; at 1000 in
group3 alone, 4%.
"""


def suggest(trial: BaseTrial, domain: Domain) -> Point:
    """As in `fine-tuning`, with the distillation layers and their strengths."""
    point = fine_tuning.suggest(trial, domain)
    betas = {
        layer: rounded(
            trial.suggest_float(f"strength_{layer}", *STRENGTH_RANGE, log=True) * unit(layer, point.erase.lr, domain)
        )
        for layer in domain.layers
        if trial.suggest_categorical(f"distil_{layer}", [True, False])
    }
    return point._replace(erase=replace(point.erase, layers=tuple(betas), betas=tuple(betas.values())))


def coordinates(point: Point, domain: Domain) -> Params:
    """A setting's values with strengths in place of betas."""
    values = point.values(domain.layers)
    for layer in domain.layers:
        if (beta := values.pop(f"beta_{layer}", None)) is not None:
            values[f"strength_{layer}"] = _to_edge(float(beta) / unit(layer, point.erase.lr, domain))
    return values


def unit(layer: str, lr: float, domain: Domain) -> float:
    """The beta of strength 1 at this learning rate."""
    return domain.rms[layer] ** 2 / lr


def _to_edge(strength: float) -> float:
    """A strength just outside the range, by the rounding of lr and beta, is at its end."""
    inside = min(max(strength, STRENGTH_RANGE[0]), STRENGTH_RANGE[1])
    return inside if math.isclose(inside, strength, rel_tol=ROUNDING) else strength


NAD = SearchSpace(
    suggest=suggest, coordinates=coordinates, controls=controls, clean_fractions=fine_tuning.CLEAN_FRACTIONS, version=3
)

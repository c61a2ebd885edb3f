"""The space `nad-steps`, plus the learning rate and the attention's operator and power."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from optuna.trial import BaseTrial

from nad.attention import OPERATORS, Operator
from nad.erasure import EraseConfig
from search_spaces import nad, nad_steps
from search_spaces.base import Control, Domain, Params, Point, SearchSpace

LR_RANGE = (0.01, 0.3)
POWERS = (1.0, 2.0, 4.0)


def suggest(trial: BaseTrial, domain: Domain) -> Point:
    """As in `nad-steps`, plus the learning rate and, with distillation, operator and power."""
    point = nad_steps.suggest(trial, domain)
    erase = replace(point.erase, lr=trial.suggest_float("lr", *LR_RANGE, log=True))
    if erase.layers:
        operator = cast(Operator, trial.suggest_categorical("operator", OPERATORS))
        erase = replace(erase, operator=operator, power=trial.suggest_categorical("power", POWERS))
    return Point(point.clean_fraction, erase)


def controls(domain: Domain) -> tuple[Control, ...]:
    """The controls of `nad-steps`, at the published learning rate, operator and power."""
    return tuple(Control(name, _as_published(params, domain)) for name, params in nad_steps.controls(domain))


def _as_published(params: Params, domain: Domain) -> Params:
    published = EraseConfig()
    attention: Params = {"operator": published.operator, "power": published.power}
    return {**params, "lr": published.lr, **(attention if distils(params, domain.layers) else {})}


def distils(params: Params, layers: tuple[str, ...]) -> bool:
    """Test a point for any distilled layer."""
    return any(params[f"distil_{layer}"] for layer in layers)


NAD_WIDE = SearchSpace(suggest=suggest, controls=controls, clean_fractions=nad.CLEAN_FRACTIONS, version=3)

"""The portfolio: good settings of earlier studies, asked by every study right after its controls."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from nad.attacks import ATTACKS
from nad.erasure import EraseConfig
from nad.errors import unknown_name
from nad.models import pair_layers
from search_spaces.base import Domain, Point, rounded
from search_spaces.controls import usual_fraction
from search_spaces.fine_tuning import CUTOUT
from search_spaces.nad import unit

LAYERS = ("group1", "group2", "group3")
"""Layers that the portfolio names, shallow to deep; `pair_layers` finds a model's own."""


class Entry(NamedTuple):
    """One setting of the portfolio, for a study's model and fraction."""

    name: str
    point: Point
    tuned_on: tuple[str, ...]
    """Attacks that it was found on."""
    origin: str
    """The measurement that speaks for it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One setting of the portfolio, for any model."""

    name: str
    lr: float
    strengths: Mapping[str, float]
    """By layer of LAYERS; see `search_spaces.nad`."""
    epochs: int = 10
    batch_size: int = 64
    schedule: str = "one-cycle"
    tuned_on: tuple[str, ...]
    origin: str

    def entry(self, domain: Domain) -> Entry:
        """The entry for this model, at the study's clean fraction nearest to the paper's."""
        named = pair_layers(domain.layers, LAYERS)
        layers = tuple(layer for layer, published in named.items() if published in self.strengths)
        betas = tuple(rounded(self.strengths[named[layer]] * unit(layer, self.lr, domain)) for layer in layers)
        erase = EraseConfig(
            layers=layers,
            betas=betas,
            lr=self.lr,
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=self.schedule,
            cutout=CUTOUT,
        )
        return Entry(self.name, Point(usual_fraction(domain), erase), self.tuned_on, self.origin)


RECIPES: tuple[Recipe, ...] = ()
"""In the order that they are asked."""


def entries(domain: Domain, without: Collection[str] = ()) -> tuple[Entry, ...]:
    """The portfolio for this model, in the order that it is asked.

    without: attacks; entries tuned on them are left out.
    Raises: ConfigError for an unknown attack.
    """
    out = left_out(domain, without)
    return tuple(recipe.entry(domain) for recipe in RECIPES if recipe.name not in out)


def left_out(domain: Domain, without: Collection[str] = ()) -> dict[str, str]:
    """The other entries by name, each with its reason.  Raises: ConfigError for an unknown attack."""
    for attack in without:
        if attack not in ATTACKS:
            raise unknown_name("attack", attack, ATTACKS)
    return dict(_misfits(domain, without))


def _misfits(domain: Domain, without: Collection[str]) -> Iterator[tuple[str, str]]:
    partners = pair_layers(domain.layers, LAYERS).values()
    for recipe in RECIPES:
        lacking = [layer for layer in recipe.strengths if layer not in partners]
        if shared := [attack for attack in recipe.tuned_on if attack in without]:
            yield recipe.name, f"tuned on {', '.join(shared)}"
        elif lacking:
            yield recipe.name, f"distils {', '.join(lacking)}, and the model has no layer for it"

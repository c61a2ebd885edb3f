"""The portfolio: good settings of earlier studies, asked by every study right after its controls.

Figures are ASR / ACC in percent on test images, means of two draws at 5% clean data, WRN-16-1 on CIFAR-10. The victims
had 100 / 82.5 (BadNets) and 100 / 83.3 (Blend). A strength is lr * beta / rms^2 of the measured beta, with the features
of a Blend victim: rms 1.59, 1.22 and 0.86 in groups 1 to 3.
"""

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


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="all-layers-lr-0.02",
        lr=0.02,
        strengths={"group1": 4.0, "group2": 14.0, "group3": 27.0},
        tuned_on=("badnets", "blend"),
        origin="CIFAR-10, betas 500 / 1000 / 1000: BadNets 1.6 / 78.1, Blend 1.1 / 78.3",
    ),
    Recipe(
        name="group3-lr-0.01",
        lr=0.01,
        strengths={"group3": 4.0},
        tuned_on=("badnets",),
        origin="CIFAR-10, beta 300: BadNets 1.9 / 80.2 (Blend 97.6 / 80.8)",
    ),
    Recipe(
        name="group3-lr-0.1",
        lr=0.1,
        strengths={"group3": 100.0},
        batch_size=32,
        tuned_on=("refool",),
        origin="GTSRB, one draw, victim 95 / 99: Refool 0.8 / 96.3 (three entries of CIFAR-10: ASR 64 to 93)",
    ),
    Recipe(
        name="group3-lr-0.07",
        lr=0.07,
        strengths={"group3": 28.0},
        tuned_on=("badnets", "blend"),
        origin="CIFAR-10, beta 300: BadNets 2.0 / 76.8, Blend 1.2 / 77.4",
    ),
    Recipe(
        name="all-layers-lr-0.003",
        lr=0.003,
        strengths={"group1": 1.8, "group2": 6.1, "group3": 12.0},
        tuned_on=("blend",),
        origin="CIFAR-10, betas 1500 / 3000 / 3000: Blend 2.0 / 78.7",
    ),
    Recipe(
        name="groups-1-2-lr-0.01",
        lr=0.01,
        strengths={"group1": 5.9, "group2": 20.0},
        tuned_on=("blend",),
        origin="CIFAR-10, betas 1500 / 3000: Blend 9.2 / 80.2",
    ),
    Recipe(
        name="fine-tuning-lr-0.02",
        lr=0.02,
        strengths={},
        tuned_on=("badnets",),
        origin="CIFAR-10: BadNets 2.8 / 79.4 (Blend 97.1 / 79.8)",
    ),
)
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

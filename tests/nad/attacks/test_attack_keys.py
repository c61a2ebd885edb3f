"""Cache keys of attacks and of what is made for them, to the digit: victims in old caches stay valid."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from bands import make_images

from nad import preparation, reflection_selection, victim
from nad.attacks import ATTACKS, describe, make
from nad.checkpoints import Checkpoint, content_key
from nad.data.base import Dataset
from nad.preparation import prepare
from nad.reflection_selection import select_reflections
from nad.scenario import Scenario
from nad.victim import VictimConfig, train_victim

MIXED = {"transmission": 0.75, "transmission_spread": 0.2, "kinds": ("ghost", "out-of-focus")}

OLD_KEYS: list[tuple[str, dict[str, Any], str]] = [
    ("badnets", {}, "67ec6947fc908f34da900b64"),
    ("badnets", {"label_mode": "all-to-all"}, "f22e1e22c519bbdbc871e83f"),
    ("badnets", {"fill": "white"}, "5263073dbd48bf2cba32c7c9"),
    ("badnets", {"size": 4, "place": "centre", "target": 2}, "8bb62faea91308ae4eb77b42"),
    ("blend", {}, "53f95dcabe988079adfc3fd3"),
    ("blend", {"alpha": 0.1, "key_seed": 3}, "57069026c6ffdff15c1ade86"),
    ("cl", {}, "e877a1aa263c10867f0cf33c"),
    ("cl", {"label_mode": "dirty", "corners": 1}, "4d8508c7da33001714be6b46"),
    ("custom", {}, "36642c5e077629f160c6c192"),
    ("custom", {"blend_ratio": 0.5, "place": "top-left"}, "827cd90cb875156f8529f852"),
    ("refool", {}, "425720fcc539d4d11f982834"),
    ("refool", MIXED, "6eb079488303997f587f73cb"),
    ("refool", {"rounds": 4, "selected": 12}, "951a9ffda9c4f663bdd29b99"),
    ("sig", {}, "84bbdbfb6b0253ff98569372"),
    ("sig", {"delta": 20.0, "label_mode": "all-to-all"}, "fb000f90b987462fee53587c"),
    ("trojan", {}, "9f4d2f74373657081417dea1"),
    ("trojan", {"size": 5, "lr": 0.05}, "f1d3f8ad77b465a40899cdfd"),
]


@pytest.mark.parametrize(("name", "settings", "key"), OLD_KEYS)
def test_an_attack_keeps_its_key(name: str, settings: dict[str, Any], key: str) -> None:
    assert content_key(describe(make(name, **settings))) == key


def test_every_attack_has_a_key_that_is_kept() -> None:
    assert {name for name, _, _ in OLD_KEYS} == set(ATTACKS)


PIXELS = {"trojan": (3, 3, 3), "cl": (1, 3, 16, 16), "refool": (1, 3, 16, 16)}
"""Shapes of what is made."""


@pytest.mark.parametrize(
    ("name", "settings", "kept"),
    [
        ("blend", {}, ["victim-6ab3c70add11fd7475b96a05"]),
        ("trojan", {}, ["trojan-43a98a49cb9a91906c170bfd", "victim-c3516fe50fc58ca4900ed6cd"]),
        ("cl", {"poison_rate": 0.1}, ["cl-a2e6fd4ea04ad68eb6a5082f", "victim-56ae5a8cb4ad236a3a9ba606"]),
        ("refool", {"rounds": 2}, ["refool-f562547d543852829519ab5d", "victim-08a35f1040a06332d06b3aab"]),
    ],
)
def test_what_is_made_for_an_attack_keeps_its_keys(
    name: str, settings: dict[str, Any], kept: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []

    def cached(folder: Path, kind: str, facts: Mapping[str, object], make: object) -> Checkpoint:
        keys.append(f"{kind}-{content_key(facts)}")
        return Checkpoint({"pixels": torch.zeros(PIXELS.get(kind, (1,)), dtype=torch.uint8)}, {"seconds": 0.0})

    for module in (preparation, reflection_selection, victim):
        monkeypatch.setattr(module, "cached", cached)
    monkeypatch.setattr(victim, "score_state", lambda *_arguments: None)
    dataset = Dataset("bands", make_images(800, 0), make_images(80, 1), ("a", "b", "c", "d"), flip=False)
    scenario, recipe = Scenario(dataset, make(name, **settings), seed=3), VictimConfig()
    scenario = prepare(scenario, "wrn-10-1", {"weight": torch.zeros(2, 2)}, cache=tmp_path)
    scenario = select_reflections(scenario, "wrn-10-1", recipe, cache=tmp_path)
    train_victim(scenario, "wrn-10-1", recipe, cache=tmp_path)
    assert keys == kept

"""The data of a search's draws, without an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from nad.data.base import LabelledImages
from nad.erasure import PRESETS
from search_spaces import Point
from study.engine import tune
from study.stages.draws import Draws, OnDraws

LAYERS = ("group1", "group2", "group3")
NAD = Point(0.05, PRESETS["code"]).values(LAYERS)
TUNING = Point(0.05, PRESETS["code"].twin()).values(LAYERS)
MADE = {"weight": np.ones(2)}


class Cache:
    """Teachers by draw and clean fraction."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, float], Any] = {}

    def find(self, which: tuple[int, float]) -> Any:
        return self.kept.get(which)

    def keep(self, which: tuple[int, float], made: Any) -> None:
        self.kept[which] = made


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> Draws:
    return made_draws(monkeypatch)


def made_draws(monkeypatch: pytest.MonkeyPatch, *, ready: bool = False) -> Draws:
    """ready: the teacher is from a file."""
    monkeypatch.setattr(tune, "share", lambda value: value)
    images = LabelledImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    scenario = SimpleNamespace(holdout=lambda _fraction, draw: images if draw else pytest.fail("it has draw 0"))
    return Draws(
        cast(Any, scenario),
        cast(Any, SimpleNamespace(draw=0, origin=SimpleNamespace(ready=ready))),
        0.2,
        cast(Any, Cache()),
    )


def test_first_draw_needs_nothing(draws: Draws) -> None:
    assert draws.shared("a", NAD, 0) == {}
    assert not draws.is_in_the_making(NAD, 0)


def test_no_trial_makes_a_teacher_where_one_is_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = made_draws(monkeypatch, ready=True)
    assert draws.shared("a", NAD, 1).keys() == {"holdout"}
    assert not draws.is_in_the_making(NAD, 1)


def test_first_trial_of_a_draw_makes_the_teacher_for_the_others(draws: Draws) -> None:
    assert draws.shared("a", NAD, 1).keys() == {"holdout"}
    assert draws.is_in_the_making(NAD, 1)
    assert not draws.is_in_the_making(NAD, 2)
    assert not draws.is_in_the_making({**NAD, "clean_fraction": 0.1}, 1)
    draws.keep("a", 0.05, MADE)
    assert not draws.is_in_the_making(NAD, 1)
    assert draws.shared("b", NAD, 1)["teacher"] == (0.05, MADE)
    draws.end("a")
    assert cast(Any, draws.cache).kept == {(1, 0.05): MADE}


def test_fine_tuning_waits_for_no_teacher_and_makes_none(draws: Draws) -> None:
    draws.shared("a", NAD, 1)
    assert not draws.is_in_the_making(TUNING, 1)
    draws.shared("b", TUNING, 2)
    assert not draws.is_in_the_making(NAD, 2)


def test_teacher_of_a_trial_that_was_lost_is_made_by_another(draws: Draws) -> None:
    draws.shared("a", NAD, 1)
    draws.end("a")
    assert not draws.is_in_the_making(NAD, 1)
    assert draws.shared("b", NAD, 1).keys() == {"holdout"}
    assert draws.is_in_the_making(NAD, 1)


def test_teacher_in_the_cache_is_not_made_again(draws: Draws) -> None:
    draws.cache.keep((3, 0.05), MADE)
    assert draws.shared("a", NAD, 3)["teacher"] == (0.05, MADE)
    assert not draws.is_in_the_making(NAD, 3)


def test_teacher_is_kept_apart_from_the_scores(draws: Draws) -> None:
    told: list[Any] = []
    searcher = SimpleNamespace(
        suggest=lambda _trial: {"setting": NAD, "draw": 1, "seed": 0, "number": 7},
        on_trial_result=lambda _trial, result: told.append(result) or True,
        on_trial_complete=lambda *_arguments: told.append("end"),
    )
    source = OnDraws(cast(Any, searcher), draws)
    config = source.suggest("a")
    assert config is not None
    assert (config["number"], config["shared"].keys()) == (7, {"holdout"})
    assert source.on_trial_result("a", {"kept": (0.05, MADE)}) is False
    assert told == []
    assert source.on_trial_result("a", {"epoch": 1}) is True
    source.on_trial_complete("a", {"final": True}, None)
    assert told == [{"epoch": 1}, "end"]

from __future__ import annotations

from typing import Any

import pytest

from reports.figures.palette import DARK, LIGHT, LIGHT_SERIES, Palette, dark_colours, ramp_colours
from reports.formatting import distilled, duration, percent, points, quantity, readable_params, setting


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.934, "93.4%"), (0.0, "0.0%"), (1.0, "100.0%"), (None, "–"), (float("nan"), "–")]
)
def test_percent(fraction: float | None, text: str) -> None:
    assert percent(fraction) == text


@pytest.mark.parametrize(
    ("difference", "text"), [(-0.0144, "−1.4 points"), (0.02, "+2.0 points"), (-0.0001, "±0.0 points")]
)
def test_differences_carry_their_sign(difference: float, text: str) -> None:
    assert points(difference) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(8000, "8,000"), (1234.56, "1,235"), (0.0012345, "0.001234"), (1000.0, "1,000"), (140.31, "140.3")],
)
def test_quantities_have_four_digits(value: float, text: str) -> None:
    assert quantity(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.25, "4.2 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (5000, "1 h 23 min"), (None, "–")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("clean_fraction", 0.05, "5%"),
        ("clean_fraction", 0.0025, "0.25%"),
        ("learning_rate", 0.1, "0.1"),
        ("clean_label", True, "yes"),
        ("kinds", ["ghost", "focus"], "ghost, focus"),
        ("recipe", None, "–"),
        ("lr", float("inf"), "inf"),
    ],
)
def test_settings_read_as_people_say_them(name: str, value: Any, text: str) -> None:
    assert setting(name, value) == text


@pytest.mark.parametrize(
    ("params", "layers"),
    [
        ({"distil_group1": True, "beta_group1": 5.0, "distil_group2": False}, ["group1"]),
        ({"beta_group1": 500.0, "beta_group3": 0}, ["group1"]),
        ({"distil_group1": False, "distil_group3": True}, ["group3"]),
        ({"epochs": 3}, []),
    ],
)
def test_layers_count_as_distilled_when_switched_on_with_a_beta(params: dict[str, Any], layers: list[str]) -> None:
    assert distilled(params) == layers


def test_layers_and_betas_read_as_one_setting() -> None:
    params = {"distil_a": True, "distil_b": False, "distil_c": True, "beta_a": 12.0, "beta_c": 3000.0, "epochs": 4}
    assert readable_params(params) == {"distilled": "a (β 12) + c (β 3,000)", "epochs": "4"}
    assert readable_params({"distil_a": False})["distilled"] == "no layer (β = 0)"


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out_enough(palette: Palette) -> None:
    for text in (palette.ink, palette.muted, palette.accent):
        assert _contrast(text, palette.paper) >= 4.5
        assert _contrast(text, palette.surface) >= 4.5
    contrasts = [_contrast(colour, palette.paper) for colour in palette.ramp]
    assert contrasts == sorted(contrasts)
    assert contrasts[0] >= 2.5


def test_every_light_colour_has_a_dark_one_of_its_own() -> None:
    assert (
        len(dark_colours()) == len(set(dark_colours().values())) == len(LIGHT) - 1 + len(LIGHT.ramp) + len(LIGHT_SERIES)
    )


@pytest.mark.parametrize("levels", range(1, len(LIGHT.ramp) + 1))
def test_each_level_has_its_own_colour(levels: int) -> None:
    assert len(set(ramp_colours(levels))) == levels

"""The page's colours in the light and dark themes, for the style sheet and the figures.

The ramp runs through part of viridis, ordered for readers with any colour vision; in both themes more clean data
stands out more from the paper.
"""

from __future__ import annotations

from typing import NamedTuple


class Palette(NamedTuple):
    """One theme. Text colours have a contrast of at least 4.5 to paper and surface, ramp colours of about 3 or more."""

    paper: str
    surface: str
    ink: str
    muted: str
    line: str
    accent: str
    ramp: tuple[str, ...]


LIGHT = Palette(
    paper="#ffffff",
    surface="#f5f6f7",
    ink="#1c2024",
    muted="#5b636b",
    line="#d9dde1",
    accent="#c2410c",
    ramp=("#35b779", "#21948b", "#2b768e", "#39568b", "#45327d", "#45085a"),
)
DARK = Palette(
    paper="#15181b",
    surface="#1e2226",
    ink="#e6e9ec",
    muted="#9aa4ad",
    line="#343a40",
    accent="#ff9d5c",
    ramp=("#2e6e8e", "#248b8c", "#29a982", "#53c367", "#9bd83c", "#eae527"),
)

LIGHT_SERIES = ("#0059b3", "#c05a00", "#00916e", "#a0307f", "#23272c")
DARK_SERIES = ("#4d9ff0", "#ffb84d", "#1fa884", "#f08bd0", "#f4f6f8")
"""Colours of unordered things, such as compared studies. Each has a shape of its own, too: readers with some colour
visions tell the colours apart only with effort.
"""


def ramp_colours(levels: int) -> list[str]:
    """Colours of the light theme for this many ordered levels, spread over the whole ramp.  levels: 1 to len(ramp)."""
    last = len(LIGHT.ramp) - 1
    return [LIGHT.ramp[round(level * last / max(levels - 1, 1))] for level in range(levels)]


def css_variables(palette: Palette) -> dict[str, str]:
    """A theme's colours by their names in the style sheet."""
    colours = palette._asdict()
    ramp = colours.pop("ramp")
    return colours | {f"ramp-{level}": colour for level, colour in enumerate(ramp)}


_VARIABLES = {colour: name for name, colour in css_variables(LIGHT).items()}


def css_colour(colour: str) -> str:
    """A light colour as the style sheet's variable, which follows the theme; another one as it is."""
    return f"var(--{_VARIABLES[colour]})" if colour in _VARIABLES else colour


def dark_colours() -> dict[str, str]:
    """The dark theme's colour for each of the light theme's."""
    light = [*LIGHT[:-1], *LIGHT.ramp, *LIGHT_SERIES]
    dark = [*DARK[:-1], *DARK.ramp, *DARK_SERIES]
    return dict(zip(light, dark, strict=True))

"""What the page shows of one figure: its drawings, a sentence that says what to see, and its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go


class Panel(NamedTuple):
    """One drawing.  label: what it shows, for those who do not see it; title: over it, where there are several."""

    drawing: go.Figure
    label: str
    title: str = ""


class FigureSection(NamedTuple):
    """One figure of the page.

    sentence: what to see, or why there is nothing to see; note: how to read it; panels: none where there is too little
    to draw; data: by column, for the button; height, width: of a panel, in rem; one that needs more width than there
    is scrolls sideways.
    """

    name: str
    title: str
    sentence: str
    note: str = ""
    panels: tuple[Panel, ...] = ()
    data: Mapping[str, Sequence[Any]] = {}
    height: float = 33.0
    width: float = 0.0


def too_little(name: str, title: str, sentence: str) -> FigureSection:
    """A figure that would say nothing: a sentence stands in its place."""
    return FigureSection(name, title, sentence)

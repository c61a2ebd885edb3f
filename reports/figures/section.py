"""One figure on the page: its drawings, a sentence on its message, and its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go


class Panel(NamedTuple):
    """One drawing.  label: description for screen readers; title: over it, if there are several."""

    drawing: go.Figure
    label: str
    title: str = ""


class FigureSection(NamedTuple):
    """One figure of the page.

    sentence: its message, or why it is empty; note: how to read it; panels: empty for too little data; data: by column,
    for the button; height, width: of a panel, in rem; a panel wider than the page scrolls sideways.
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
    """A sentence in place of an empty figure."""
    return FigureSection(name, title, sentence)

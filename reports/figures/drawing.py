"""Common parts of all figures: typeface, axes, margins, escaped text."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from reports.figures.palette import LIGHT

FONT = "-apple-system, BlinkMacSystemFont, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', Arial, sans-serif"
LONGEST_TEXT = 60


def _axis_style() -> dict[str, Any]:
    """Style of every axis."""
    return {
        "gridcolor": LIGHT.line,
        "linecolor": LIGHT.line,
        "zeroline": False,
        "tickfont": {"color": LIGHT.muted},
        "title": {"font": {"size": 13}, "standoff": 8},
        "automargin": True,
    }


def layout() -> go.Layout:
    """An empty figure in the light theme; the page's own colour shows through."""
    text = {"family": FONT, "color": LIGHT.ink}
    axis = _axis_style()
    return go.Layout(
        template="none",
        font={**text, "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 10, "r": 12, "t": 12, "b": 10},
        xaxis=axis,
        yaxis=axis,
        hovermode="closest",
        hoverlabel={
            "align": "left",
            "bgcolor": LIGHT.paper,
            "bordercolor": LIGHT.muted,
            "font": {"family": FONT, "color": LIGHT.ink},
        },
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemsizing": "constant"},
    )


def stacked(upper: str, lower: str) -> go.Figure:
    """Two plots above each other, y over y2, with one horizontal axis.  upper, lower: titles of their vertical axes."""
    figure = go.Figure(layout=layout())
    figure.update_layout(
        yaxis={"domain": [0.55, 1], "title": {"text": upper}},
        yaxis2={
            **_axis_style(),
            "domain": [0, 0.45],
            "anchor": "x",
            "title": {**_axis_style()["title"], "text": lower},
        },
        xaxis={"anchor": "y2"},
    )
    return figure


def hover(title: str, lines: Mapping[str, Any]) -> str:
    """Text of a hover box: a bold title, then one line per entry."""
    rest = [f"{escape(name)}: {escape(value)}" for name, value in lines.items()]
    return "<br>".join([f"<b>{escape(title)}</b>", *rest])


def escape(text: Any) -> str:
    """Text escaped for Plotly, which reads some HTML in labels and hover boxes, and shortened."""
    return html.escape(shorten(str(text)), quote=False)


def shorten(text: str) -> str:
    """One line of at most LONGEST_TEXT characters."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"

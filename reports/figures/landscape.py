"""ASR over beta and clean fraction together: a contour, and over it its trials.

The clean fraction takes a handful of values. Within each, ASR is smoothed over beta; between two of them the contour
is a straight line. There is no contour far from all trials.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from reports.analysis.objectives import Floats
from reports.figures.drawing import escape, layout
from reports.figures.groups import Texts, clean_fraction_groups, shares
from reports.figures.palette import LIGHT
from reports.figures.section import FigureSection, Panel, too_little
from reports.figures.slices import Slice, slices_info
from reports.formatting import percent, settings
from reports.study_folder import Study

NAME, TITLE = "landscape", "Beta and clean data together"
SPREAD = 0.32
"""Sideways spread of the trials of one clean fraction, so they do not hide each other."""
STEPS = 41
BANDWIDTH = 0.07
"""Standard deviation of the smoothing, as a share of the beta axis: half a decade of a range of two is 0.2 of it."""
LEAST_WEIGHT = 0.6
"""As much as one trial at a distance of one bandwidth; less, and the place stays empty."""
LEAST_DISTILLED = 20
"""Trials of a layer; with fewer the contour would be islands of one trial each."""
LEVELS = 10
"""Points of ASR between two lines of the contour."""


class LandscapeInfo(NamedTuple):
    """column: index of each trial's fraction; aside: its drawn distance to the side of its column."""

    numbers: tuple[int, ...]
    asr: Floats
    hover: Texts
    fractions: tuple[str, ...]
    column: Floats
    aside: Floats
    slices: tuple[Slice, ...]

    def contour(self, index: int) -> tuple[Floats, Floats] | None:
        """One layer's smoothed ASR: places on the beta axis (steps,) and ASR (steps, fractions), with NaN.

        None if too few trials distil the layer.
        """
        one = self.slices[index]
        on = ~one.beta.absent
        if on.sum() < LEAST_DISTILLED:
            return None
        places = np.linspace(one.axis.positions[on].min(), 1.0, STEPS)
        columns = [on & (self.column == which) for which in range(len(self.fractions))]
        return places, np.column_stack([smoothed(one.axis.positions[mask], self.asr[mask], places) for mask in columns])


def landscape_info(study: Study) -> LandscapeInfo:
    """All complete trials by clean fraction, and the betas of `slices`."""
    complete, sliced = study.settings, slices_info(study)
    groups = clean_fraction_groups(complete)
    column = np.zeros(len(complete))
    for index, (_, _, mask) in enumerate(groups):
        column[mask] = index
    # Steps of the golden ratio spread any number of trials evenly, and draw the same page every time.
    aside = np.asarray(SPREAD * (2 * ((np.arange(len(complete)) * 0.6180339887) % 1) - 1), dtype=float)
    return LandscapeInfo(
        sliced.numbers,
        sliced.asr,
        sliced.hover,
        tuple(label for label, _, _ in groups),
        column,
        aside,
        sliced.slices,
    )


def smoothed(positions: Floats, scores: Floats, places: Floats) -> Floats:
    """Mean of the scores near each place, with Gaussian weights; NaN with too little near.

    positions, scores: (n,); places: (m,).  Returns (m,). Source: Nadaraya 1964; Watson 1964.
    """
    weights = np.exp(-0.5 * ((places[:, None] - positions) / BANDWIDTH) ** 2)
    total = weights.sum(axis=1)
    return np.where(total >= LEAST_WEIGHT, weights @ scores / np.maximum(total, LEAST_WEIGHT), np.nan)


COLOURS = [[step / (len(LIGHT.ramp) - 1), colour] for step, colour in enumerate(reversed(LIGHT.ramp))]
"""From low to high ASR."""
COLOUR_BAR = {
    "title": {"text": "ASR", "side": "top", "font": {"size": 13}},
    "ticksuffix": "%",
    "thickness": 10,
    "outlinewidth": 0,
    "dtick": 50,
    "tickfont": {"color": LIGHT.muted},
}


def landscape_figure(info: LandscapeInfo, index: int) -> go.Figure:
    """Clean fractions to the right, one layer's beta upwards, ASR as colour."""
    one = info.slices[index]
    figure = go.Figure(layout=layout())
    _add_contour(figure, info, index)
    colour = {"color": 100 * info.asr, "cmin": 0, "cmax": 100, "colorscale": COLOURS, "colorbar": COLOUR_BAR}
    figure.add_scatter(
        x=info.column + info.aside,
        y=one.axis.positions,
        mode="markers",
        marker={"size": 10, **colour},
        hovertext=info.hover,
        hoverinfo="text",
        cliponaxis=False,
    )
    names = [escape(name) for name in info.fractions]
    figure.update_xaxes(
        title_text="clean data", tickvals=list(range(len(names))), ticktext=names, range=[-0.5, len(names) - 0.5]
    )
    figure.update_yaxes(
        title_text=escape(one.beta.label),
        tickvals=[place for place, _ in one.axis.ticks],
        ticktext=[escape(text) for _, text in one.axis.ticks],
        range=[-0.06, 1.06],
    )
    return figure


def _add_contour(figure: go.Figure, info: LandscapeInfo, index: int) -> None:
    """The layer's smoothed ASR, if enough trials distil it."""
    if (contour := info.contour(index)) is None:
        return
    places, asr = contour
    figure.add_contour(
        x=list(range(len(info.fractions))),
        y=places.round(4),
        z=[[None if np.isnan(value) else value for value in row] for row in (100 * asr).round(1)],
        colorscale=COLOURS,
        zmin=0,
        zmax=100,
        contours={"start": LEVELS, "end": 100 - LEVELS, "size": LEVELS},
        line={"width": 0},
        opacity=0.35,
        showscale=False,
        hoverinfo="skip",
    )


def landscape_section(study: Study) -> FigureSection:
    """The figure for the page: a panel for each layer."""
    info = landscape_info(study)
    if not info.slices or len(info.fractions) < 2:
        what = "only one clean fraction" if info.slices else "no layer’s beta enough"
        return too_little(NAME, TITLE, f"The settings vary {what}, so there is nothing to lay out.")
    panels = tuple(
        Panel(landscape_figure(info, index), f"ASR by clean data and {one.beta.label}.")
        for index, one in enumerate(info.slices)
    )
    values = {one.beta.label: ["" if beta is None else beta for beta in one.beta.values] for one in info.slices}
    fractions = [info.fractions[int(column)] for column in info.column]
    shading = (
        " The shading is the mean ASR of the column’s settings with a beta near by; between columns it is a straight"
        " line, not a measurement."
    )
    drawn = any(info.contour(index) is not None for index in range(len(info.slices)))
    return FigureSection(
        NAME,
        TITLE,
        sentence(info),
        "Each point is one setting, at its estimated ASR; its place within its column means nothing."
        + (shading if drawn else ""),
        panels,
        {"setting": list(info.numbers), "asr": shares(info.asr), "clean data": fractions, **values},
        20.0,
    )


def sentence(info: LandscapeInfo) -> str:
    """The middle and the lowest ASR of each clean fraction, with its number of settings."""
    parts = []
    for index, name in enumerate(info.fractions):
        asr = info.asr[info.column == index]
        parts.append(
            f"{percent(float(np.median(asr)))} with {name} (lowest {percent(float(asr.min()))}, {settings(len(asr))})"
        )
    return f"Median ASR is {'; '.join(parts)}."

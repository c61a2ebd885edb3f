"""Parallel coordinates: every complete trial as a line through its settings and scores, narrowed by brushing.

Plotly's own parallel coordinates need WebGL and code made at run time, forbidden by the page's policy; these are
ordinary lines, and the page's script brushes them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from reports.analysis.frontier import Mask
from reports.analysis.objectives import Floats
from reports.figures.drawing import escape, layout, shorten
from reports.figures.groups import Texts, shares, trial_hovers
from reports.figures.palette import LIGHT, ramp_colours
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import percent, settings
from reports.hyperparameters import Axis, axis, hyperparameters
from reports.study_folder import Study

NAME, TITLE = "parallel", "All hyperparameters and scores at once"
LEAST_SETTINGS = 3
BANDS = (0.0, 0.1, 0.25, 0.5, 1.0)
"""ASR at the limits between colours."""


class Line(NamedTuple):
    """A vertical axis of the figure."""

    label: str
    axis: Axis


class ParallelInfo(NamedTuple):
    """axes: settings first, then the scores.  bands: label, colour and trials of each range of ASR, high first."""

    numbers: tuple[int, ...]
    axes: tuple[Line, ...]
    bands: tuple[tuple[str, str, Mask], ...]
    hover: Texts
    data: dict[str, list[object]]

    @property
    def positions(self) -> Floats:
        """Crossing of each trial with each axis, from 0 to 1.  Returns (trials, axes)."""
        return np.column_stack([line.axis.positions for line in self.axes])


def parallel_info(study: Study) -> ParallelInfo:
    """All complete trials, by each varying setting and both scores."""
    complete = study.settings
    asr, acc = (complete[name].to_numpy(dtype=float) for name in ("asr", "acc"))
    given = hyperparameters(complete)
    settings = [Line(one.label, axis(one)) for one in given]
    colours = ramp_colours(len(BANDS) - 1)
    bands = []
    for low, high, colour in zip(BANDS, BANDS[1:], reversed(colours), strict=False):
        inside = (asr >= low) & ((asr < high) | (high == BANDS[-1]))
        bands.append((f"{100 * low:g} to {100 * high:g}%", colour, inside))
    data: dict[str, list[object]] = {"setting": list(complete["number"]), "asr": [*shares(asr)], "acc": [*shares(acc)]}
    data |= {one.label: ["" if value is None else value for value in one.values] for one in given}
    return ParallelInfo(
        tuple(complete["number"]),
        (*settings, Line("ASR", _scores(asr)), Line("ACC", _scores(acc))),
        tuple(band for band in reversed(bands) if band[2].any()),
        trial_hovers(study),
        data,
    )


def parallel_figure(info: ParallelInfo) -> go.Figure:
    """`meta.axes` tells the page's script the length of each trial's run of points; a gap follows."""
    figure = go.Figure(layout=layout())
    count, positions = len(info.axes), info.positions
    for label, colour, mask in info.bands:
        rows = np.column_stack((positions[mask], np.full(int(mask.sum()), np.nan)))
        figure.add_scatter(
            x=[*range(count), None] * len(rows),
            y=rows.ravel().round(4).tolist(),  # the page's script reads these, so no packed array
            mode="lines",
            name=label,
            line={"color": colour, "width": 1.5 if len(info.numbers) <= 200 else 0.7},
            hovertext=np.repeat(info.hover[mask], count + 1),
            hoverinfo="text",
        )
    axis_line = {"type": "line", "y0": 0, "y1": 1, "line": {"color": LIGHT.muted, "width": 1}, "layer": "below"}
    figure.update_layout(
        shapes=[{**axis_line, "x0": place, "x1": place} for place in range(count)],
        annotations=[
            _tick(place, height, text, last=place == count - 1)
            for place, line in enumerate(info.axes)
            for height, text in line.axis.ticks
        ],
        meta={"axes": [shorten(line.label) for line in info.axes]},
        legend_title={"text": "ASR  ", "side": "left", "font": {"size": 13}},
        dragmode="select",
        selectdirection="any",
    )
    figure.update_xaxes(
        tickvals=list(range(count)),
        ticktext=[escape(line.label) for line in info.axes],
        range=[-0.15, count - 0.85],
        showgrid=False,
        side="bottom",
    )
    figure.update_yaxes(range=[-0.05, 1.05], visible=False)
    return figure


def _tick(place: int, height: float, text: str, *, last: bool) -> dict[str, object]:
    """A value beside its axis: to the right, but for the last one."""
    return {
        "x": place,
        "y": height,
        "text": escape(text),
        "showarrow": False,
        "xanchor": "right" if last else "left",
        "xshift": -3 if last else 3,
        "font": {"size": 11, "color": LIGHT.muted},
        "bgcolor": LIGHT.paper,
        "opacity": 0.85,
    }


NOTE = (
    "Each line is one setting, at its estimated scores. Drag over a part of an axis to keep only those crossing it"
    " there; parts on several axes add up. The two lists above do the same from the keyboard."
)


def parallel_section(study: Study) -> FigureSection:
    """The figure for the page."""
    if len(study.settings) < LEAST_SETTINGS or not hyperparameters(study.settings):
        return too_little(NAME, TITLE, f"Fewer than {LEAST_SETTINGS} settings were tried, or they do not differ.")
    info = parallel_info(study)
    names = ", ".join(line.label for line in info.axes)
    return FigureSection(
        NAME,
        TITLE,
        sentence(study),
        NOTE,
        (Panel(parallel_figure(info), f"Parallel coordinates of {settings(len(info.numbers))} over {names}."),),
        info.data,
        height=27.0,
        width=5.0 * len(info.axes),
    )


def sentence(study: Study) -> str:
    """The number of settings good in both scores."""
    complete = study.settings
    kept = complete["number"].isin(study.kept).to_numpy()
    low = complete["asr"].to_numpy() <= np.quantile(complete["asr"], 0.25)
    highest = float(complete["asr"].to_numpy()[low].max())
    return (
        f"{int((kept & low).sum())} of {settings(len(complete))} are both in the quarter with the lowest ASR"
        f" (up to {percent(highest)}) and keep at least"
        f" {percent(study.least_acc)} accuracy."
    )


def _scores(scores: Floats) -> Axis:
    """Observed values as fractions on the axis, with its ends and middle named."""
    low, high = float(np.floor(20 * scores.min()) / 20), float(np.ceil(20 * scores.max()) / 20)
    high = max(high, low + 0.05)
    return Axis(
        (scores - low) / (high - low), tuple((at, percent(low + at * (high - low), 0)) for at in (0.0, 0.5, 1.0))
    )

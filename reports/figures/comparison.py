"""Figures with several studies in them, each in two steps: info, then drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from reports.comparison import Volume
from reports.figures.drawing import escape, hover, layout, shorten
from reports.figures.frontier_info import FrontierInfo, drawn_acc, frontier_info
from reports.figures.hypervolume import HypervolumeInfo, hypervolume_info
from reports.figures.palette import LIGHT, LIGHT_SERIES
from reports.formatting import percent
from reports.study_folder import Study

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")
GLYPHS = ("●", "■", "◆", "▲", "✚")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
LONGEST_NAME = 28
"""Characters of a study's name beside an axis or in a legend."""


class StudyStyle(NamedTuple):
    """A study's colour, and a shape for colour-blind readers.

    series: index of its colour in LIGHT_SERIES.
    """

    series: int
    symbol: str
    glyph: str
    dash: str

    @property
    def colour(self) -> str:
        return LIGHT_SERIES[self.series]


class StudyFront(NamedTuple):
    """One study in a figure of fronts."""

    name: str
    style: StudyStyle
    frontier: FrontierInfo


class FrontsInfo(NamedTuple):
    """acc_range: ends of the vertical axis."""

    studies: tuple[StudyFront, ...]
    acc_range: tuple[float, float]


def study_styles(count: int) -> tuple[StudyStyle, ...]:
    """A look for each of this many studies; from the sixth on, colours return with other shapes."""
    return tuple(_study_style(index) for index in range(count))


def fronts_info(studies: Sequence[Study]) -> FrontsInfo:
    """The fronts of these studies on one axis."""
    fronts = tuple(
        StudyFront(study.name, style, frontier_info(study))
        for study, style in zip(studies, study_styles(len(studies)), strict=True)
    )
    ranges = [front.frontier.acc_range for front in fronts]
    return FrontsInfo(fronts, (min(low for low, _ in ranges), max(high for _, high in ranges)))


def only(info: FrontsInfo, indices: Sequence[int]) -> FrontsInfo:
    """Some of the studies as they look among all, and on the axis of all."""
    return info._replace(studies=tuple(info.studies[index] for index in indices))


def fronts_figure(info: FrontsInfo, *, all_trials: bool) -> go.Figure:
    """Each study's step line, the trials on it, its victim and its recommended setting.

    all_trials: draw the trials behind the fronts and the least accuracy, too.
    """
    figure = go.Figure(layout=layout())
    if all_trials:
        for front in info.studies:
            line = {"color": front.style.colour, "width": 1, "dash": "dash"}
            figure.add_hline(y=100 * front.frontier.least_acc, line=line, opacity=0.6, layer="below")
            _add_trials(figure, front, info.acc_range, on_front=False)
    for front in info.studies:
        _add_front(figure, front)
        _add_trials(figure, front, info.acc_range, on_front=True)
        _add_marks(figure, front, info.acc_range)
    figure.update_layout(legend=_legend("study"))
    figure.update_xaxes(title_text="attack success rate", range=[-2, 102], ticksuffix="%", dtick=20)
    figure.update_yaxes(title_text="clean accuracy", range=[100 * acc for acc in info.acc_range], ticksuffix="%")
    return figure


def below_axis(info: FrontsInfo, *, all_trials: bool) -> str:
    """One sentence on trials drawn at the axis' lower edge; empty if none."""
    low, count = info.acc_range[0], 0
    for front in info.studies:
        members = set(front.frontier.front)
        for group in front.frontier.groups:
            drawn = np.array([all_trials or number in members for number in group.numbers], dtype=bool)
            count += int((drawn & (group.acc < low)).sum())
    if count == 0:
        return ""
    trials = "1 setting has" if count == 1 else f"{count} settings have"
    return f"{trials} less than {percent(low, 0)} ACC, drawn as ▼ at the lower edge."


def volumes_figure(names: Sequence[str], found: Sequence[Volume]) -> go.Figure:
    """One row for each study: hypervolume of its search, and of its confirmed points on the test images."""
    figure = go.Figure(layout=layout())
    places = list(range(len(names)))
    marker_size = {"size": 11}
    for name, symbol in (("the search", "circle-open"), ("fresh draws", "circle")):
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=name,
            marker={**marker_size, "symbol": symbol, "color": LIGHT.muted},
        )
    for place, name, style, volume in zip(places, names, study_styles(len(names)), found, strict=True):
        search = hover(name, {"search, validation images": f"{volume.search:.4f}", "settings": volume.settings})
        marker = {**marker_size, "color": style.colour, "symbol": f"{style.symbol}-open", "line": {"width": 2}}
        _add_volume(figure, volume.search, place, search, marker)
        if volume.fresh:
            mean, bounds, draws, points = volume.fresh
            lines = {"fresh draws, test images": f"{mean:.4f}", "points": points, "draws": draws}
            if bounds:
                lines["95% interval over draws"] = f"{bounds[0]:.4f} to {bounds[1]:.4f}"
            _add_volume(
                figure,
                mean,
                place,
                hover(name, lines),
                {**marker_size, "color": style.colour, "symbol": style.symbol},
                bounds,
            )
    ticks = [escape(_short(name)) for name in names]
    figure.update_xaxes(title_text="hypervolume", tickformat=".2f")
    figure.update_yaxes(tickvals=places, ticktext=ticks, range=[len(names) - 0.4, -0.6], showgrid=False)
    figure.update_layout(legend=_legend("hypervolume of"))
    return figure


def growth_info(studies: Sequence[Study]) -> tuple[HypervolumeInfo, ...]:
    """How each study's front grew with its settings."""
    return tuple(hypervolume_info(study) for study in studies)


def growth_figure(names: Sequence[str], growths: Sequence[HypervolumeInfo]) -> go.Figure:
    """Hypervolume of each study against its number of reliable settings."""
    figure = go.Figure(layout=layout())
    for name, style, growth in zip(names, study_styles(len(names)), growths, strict=True):
        texts = [
            hover(name, {"hypervolume": f"{value:.4f}", "after setting": number})
            for number, value in zip(growth.numbers, growth.values, strict=True)
        ]
        figure.add_scatter(
            x=np.arange(1, len(growth.values) + 1),
            y=growth.values,
            mode="lines+markers",
            name=escape(_short(name)),
            line={"color": style.colour, "width": 2, "shape": "hv", "dash": style.dash},
            marker={"size": 5, "symbol": style.symbol, "color": style.colour},
            hovertext=texts,
            hoverinfo="text",
            showlegend=True,
        )
    figure.update_layout(legend=_legend("study"))
    figure.update_xaxes(title_text="settings, in the order of their first erase", rangemode="tozero")
    figure.update_yaxes(title_text="hypervolume", tickformat=".2f")
    return figure


def _study_style(index: int) -> StudyStyle:
    """Shapes move on by one whenever the colours begin again."""
    turn = (index + index // len(LIGHT_SERIES)) % len(SYMBOLS)
    return StudyStyle(index % len(LIGHT_SERIES), SYMBOLS[turn], GLYPHS[turn], DASHES[turn])


def _legend(title: str) -> dict[str, Any]:
    """Legend entries as thin as the lines, else dashes run together."""
    return {"itemsizing": "trace", "title": {"text": f"{title}  ", "side": "left", "font": {"size": 13}}}


def _short(name: str) -> str:
    line = shorten(name)
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"


def _add_front(figure: go.Figure, front: StudyFront) -> None:
    """The step line, and the study's entry in the legend, with line and symbol."""
    line = {"color": front.style.colour, "width": 2, "dash": front.style.dash}
    marker = {"color": front.style.colour, "symbol": front.style.symbol, "size": 9}
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="lines+markers",
        name=escape(_short(front.name)),
        line=line,
        marker=marker,
        legendgroup=escape(front.name),
        showlegend=True,
    )
    vertices = 100 * front.frontier.line
    _add(figure, front, x=vertices[:, 0], y=vertices[:, 1], mode="lines", line=line, hoverinfo="skip")


def _add_trials(figure: go.Figure, front: StudyFront, acc_range: tuple[float, float], *, on_front: bool) -> None:
    """The trials on the front, or the faint ones behind it."""
    members = set(front.frontier.front)
    rows = [
        (asr, acc, text)
        for group in front.frontier.groups
        for number, asr, acc, text in zip(group.numbers, group.asr, group.acc, group.hover, strict=True)
        if (number in members) is on_front
    ]
    acc = np.array([row[1] for row in rows])
    symbol = front.style.symbol if on_front else f"{front.style.symbol}-open"
    _add(
        figure,
        front,
        x=[100 * row[0] for row in rows],
        y=100 * drawn_acc(acc, acc_range),
        mode="markers",
        marker={
            "color": front.style.colour,
            "size": 9 if on_front else 7,
            "symbol": np.where(acc < acc_range[0], "triangle-down", symbol).tolist(),
        },
        opacity=1 if on_front else 0.55,
        hovertext=[_with_name(front, row[2]) for row in rows],
        hoverinfo="text",
        cliponaxis=False,
    )


def _add_marks(figure: go.Figure, front: StudyFront, acc_range: tuple[float, float]) -> None:
    """The victim as a crossed circle, the recommended trial in a ring."""
    frontier = front.frontier
    marks = [(frontier.victim, {"size": 14, "symbol": "circle-x-open", "line": {"width": 2}})]
    if frontier.recommended:
        marks.append((frontier.recommended, {"size": 20, "symbol": "circle-open", "line": {"width": 3}}))
    for mark, marker in marks:
        _add(
            figure,
            front,
            x=[100 * mark.scores.asr],
            y=100 * drawn_acc(np.array([mark.scores.acc]), acc_range),
            mode="markers",
            marker={**marker, "color": front.style.colour},
            hovertext=[_with_name(front, mark.hover)],
            hoverinfo="text",
            cliponaxis=False,
        )


def _add(figure: go.Figure, front: StudyFront, **trace: Any) -> None:
    """A trace switched on and off with the study's others by its legend entry."""
    figure.add_scatter(name=escape(front.name), legendgroup=escape(front.name), showlegend=False, **trace)


def _add_volume(
    figure: go.Figure,
    value: float,
    place: int,
    text: str,
    marker: dict[str, Any],
    bounds: tuple[float, float] | None = None,
) -> None:
    error = None
    if bounds:
        error = {
            "type": "data",
            "symmetric": False,
            "array": [bounds[1] - value],
            "arrayminus": [value - bounds[0]],
            "color": marker["color"],
            "thickness": 2,
            "width": 6,
        }
    figure.add_scatter(
        x=[value],
        y=[place],
        mode="markers",
        marker=marker,
        error_x=error,
        hovertext=[text],
        hoverinfo="text",
        showlegend=False,
        cliponaxis=False,
    )


def _with_name(front: StudyFront, text: str) -> str:
    return f"{escape(front.name)}<br>{text}"

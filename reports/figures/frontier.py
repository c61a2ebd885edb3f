"""The frontier: every setting by ASR and accuracy, the front, controls and the victim."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from reports.analysis.intervals import Interval
from reports.figures.confirmation import Confirmed
from reports.figures.drawing import escape, hover, layout
from reports.figures.frontier_info import (
    FrontierInfo,
    Mark,
    TrialGroup,
    edge_symbols,
    frontier_info,
    limit_text,
    tick_step,
)
from reports.figures.groups import shares
from reports.figures.palette import LIGHT
from reports.figures.section import FigureSection, Panel
from reports.formatting import percent, seeds, with_interval
from reports.study_folder import FreshScores, Study

NAME, TITLE = "frontier", "All settings by attack success rate and clean accuracy"
MARKERS: dict[str, Any] = {
    "knee": {"size": 17, "color": LIGHT.ink, "line": {"width": 1.5}},
    "recommended": {"size": 20, "color": LIGHT.accent, "line": {"width": 3}},
}
"""Rings; all other marks are CONTROL_MARKER."""
CONTROL_MARKER = {"size": 13, "color": LIGHT.ink, "line": {"width": 2}}


def frontier_figure(info: FrontierInfo) -> go.Figure:
    """ASR to the right, accuracy upwards: the better settings are at the top left."""
    figure = go.Figure(layout=layout())
    figure.add_hline(y=100 * info.least_acc, line={"color": LIGHT.muted, "width": 1.5, "dash": "dash"}, layer="below")
    line = {"color": LIGHT.ink, "width": 1.5}
    figure.add_scatter(
        x=100 * info.line[:, 0],
        y=100 * info.line[:, 1],
        mode="lines",
        name="front",
        line=line,
        hoverinfo="skip",
        legendrank=2000,
    )
    for group in info.groups:
        _add_group(figure, group, info)
    _add_confirmed(figure, info)
    for mark in info.marks:
        ring = mark is info.recommended or mark is info.knee
        _add_mark(figure, mark, info, MARKERS[mark.label] if ring else CONTROL_MARKER)
    _add_texts(figure, info)
    figure.update_layout(legend_title={"text": "clean data  ", "side": "left", "font": {"size": 13}})
    for update, title, ends in (
        (figure.update_xaxes, "attack success rate", info.x_range),
        (figure.update_yaxes, "clean accuracy", info.y_range),
    ):
        update(title_text=title, range=ends, ticksuffix="%", dtick=tick_step(ends))
    return figure


def frontier_section(study: Study) -> FigureSection:
    """The figure for the page, also without a complete trial."""
    info = frontier_info(study)
    complete = study.settings
    fractions = [params.get("clean_fraction", "") for params in complete["params"]]
    return FigureSection(
        NAME,
        TITLE,
        sentence(study, info),
        _note(info),
        (
            Panel(
                frontier_figure(info),
                "Frontier of attack success rate and clean accuracy. The front’s settings follow as a table.",
            ),
        ),
        {
            "setting": list(complete["number"]),
            "draws": [int(draws) for draws in complete["draws"]],
            "asr": shares(complete["asr"]),
            "acc": shares(complete["acc"]),
            "clean fraction": fractions,
            "control": list(complete["control"]),
            "on the front": [number in info.front for number in complete["number"]],
        },
    )


def sentence(study: Study, info: FrontierInfo) -> str:
    """Ends of the front, and its knee."""
    if not info.front:
        return "No setting is complete yet; the victim stands alone."
    ends = study.settings.set_index("number").loc[[info.front[0], info.front[-1]]]
    (asr, acc), (last_asr, last_acc) = ends[["asr", "acc"]].to_numpy(dtype=float)
    if len(info.front) == 1:
        text = f"One setting beats all others in both scores: {percent(asr)} ASR at {percent(acc)} accuracy."
    else:
        text = (
            f"The front’s {len(info.front)} settings run from {percent(asr)} ASR at {percent(acc)} accuracy to"
            f" {percent(last_asr)} at {percent(last_acc)}."
        )
    if info.knee:
        text += f" It bends at the knee, {percent(info.knee.scores.asr)} ASR at {percent(info.knee.scores.acc)}."
    return text


def _note(info: FrontierInfo) -> str:
    """How to read the figure."""
    text = (
        "Each point is one setting, at its estimated scores over fresh draws; the best lie at the top left. Hollow:"
        " settings with too few draws for the front. The stepped line joins the settings on the front: no other one"
        " beats them in both scores. Dashed: the least accuracy allowed."
    )
    if info.below:
        settings = "1 setting" if info.below == 1 else f"{info.below} settings"
        are = "is" if info.below == 1 else "are"
        text += f" {settings} with less than {percent(info.acc_range[0], 0)} ACC {are} drawn as ▼ at the lower edge."
    if info.most_asr < 1:
        beyond = f", {info.beyond} setting{'s' if info.beyond > 1 else ''} among them, as ▶" if info.beyond else ""
        text += f" The axis ends at {percent(info.most_asr, 0)} ASR; points beyond are drawn there{beyond}."
    if info.confirmed:
        text += (
            " Crosses: mean test scores of the confirmed settings over fresh seeds; the next figure"
            " has their intervals."
        )
    return text


def _add_group(figure: go.Figure, group: TrialGroup, info: FrontierInfo) -> None:
    symbols = edge_symbols(group, info)
    rank = [("circle", "circle-open").index(each) if each.startswith("circle") else 2 for each in symbols.tolist()]
    order = np.argsort(rank, kind="stable")  # the legend shows the first one's symbol
    x, y = 100 * info.place(np.column_stack((group.asr, group.acc)))[order].T
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        name=group.label,
        marker={"color": group.colour, "size": 9, "symbol": symbols[order].tolist()},
        hovertext=[group.hover[index] for index in order],
        hoverinfo="text",
        cliponaxis=False,
    )


def _add_mark(figure: go.Figure, mark: Mark, info: FrontierInfo, marker: dict[str, Any]) -> None:
    ((x, y),) = 100 * info.place(np.array([mark.scores[:2]]))
    beyond = f", {percent(mark.scores.asr, 0)} ASR" if mark.scores.asr > info.most_asr else ""
    figure.add_scatter(
        x=[x],
        y=[y],
        mode="markers",
        name=escape(mark.label + beyond),
        marker=marker | {"symbol": mark.symbol},
        hovertext=[mark.hover],
        hoverinfo="text",
        cliponaxis=False,
    )


def _add_texts(figure: go.Figure, info: FrontierInfo) -> None:
    """Texts in the plot; `name` tells the page's script to hide them on narrow screens."""
    figure.add_annotation(
        name="limit",
        text=limit_text(info),
        x=1,
        y=100 * info.least_acc,
        xref="paper",
        xanchor="right",
        yanchor="top",
        showarrow=False,
        font={"color": LIGHT.muted, "size": 12},
    )
    if info.recommended:
        ((x, y),) = 100 * info.place(np.array([info.recommended.scores[:2]]))
        left = x > sum(info.x_range) / 2
        figure.add_annotation(
            name="recommended",
            text="<b>recommended</b>",
            x=x,
            y=y,
            xanchor="right" if left else "left",
            xshift=-12 if left else 12,
            yshift=-14,
            showarrow=False,
            font={"color": LIGHT.accent},
        )


def _add_confirmed(figure: go.Figure, info: FrontierInfo) -> None:
    """Crosses at the confirmed trials' test scores, and lines from their search scores.

    The recommended one has its intervals; those of all would cover the figure.
    """
    for points, colour in (
        ([point for point in info.confirmed if not point.recommended], LIGHT.muted),
        ([point for point in info.confirmed if point.recommended], LIGHT.accent),
    ):
        if not points:
            continue
        start, end = (
            100 * info.place(np.array([[at.asr, at.acc] for at in scores]))
            for scores in ([point.scores for point in points], [point.test for point in points])
        )
        gap = np.full_like(start, np.nan)
        figure.add_scatter(
            x=np.column_stack((start[:, 0], end[:, 0], gap[:, 0])).ravel(),
            y=np.column_stack((start[:, 1], end[:, 1], gap[:, 1])).ravel(),
            mode="lines",
            line={"color": colour, "width": 1, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
        bars = _error_bars(points[0].test, colour) if points[0].recommended else {}
        figure.add_scatter(
            x=end[:, 0],
            y=end[:, 1],
            mode="markers",
            name="on the test images",
            showlegend=not any(trace.name == "on the test images" for trace in figure.data),
            marker={"symbol": "x-thin", "size": 9, "line": {"color": colour, "width": 2}},
            hovertext=[_test_hover(point) for point in points],
            hoverinfo="text",
            **bars,
        )


def _error_bars(test: FreshScores, colour: str) -> dict[str, Any]:
    def bar(mean: float, ends: Interval) -> dict[str, Any]:
        reach = {"array": [100 * (ends[1] - mean)], "arrayminus": [100 * (mean - ends[0])]}
        return {"type": "data", "symmetric": False, "color": colour, "thickness": 1.2, "width": 4, **reach}

    if test.asr_ci is None or test.acc_ci is None:
        return {}
    return {"error_x": bar(test.asr, test.asr_ci), "error_y": bar(test.acc, test.acc_ci)}


def _test_hover(point: Confirmed) -> str:
    test = point.test
    lines = {
        "ASR": with_interval(test.asr, test.asr_ci),
        "ACC": with_interval(test.acc, test.acc_ci),
        "measured": seeds(test.seeds),
    }
    name = point.label if point.number is None else f"Setting {point.number}"
    return hover(f"{name} on the test images", lines)

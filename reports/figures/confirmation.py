"""The confirmed settings: scores in the search, and on the test images with fresh seeds."""

from __future__ import annotations

from typing import Any, NamedTuple

import plotly.graph_objects as go

from reports.analysis.objectives import OBJECTIVES, Objective
from reports.figures.drawing import escape, hover, layout
from reports.figures.palette import LIGHT
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import control_label, percent, seeds, setting, with_interval
from reports.study_folder import FreshScores, Scores, Study

NAME, TITLE = "confirmation", "The search against fresh seeds"


class Confirmed(NamedTuple):
    """A confirmed setting or baseline: scores in the search, and on the test images.

    number: None for a baseline.
    """

    number: int | None
    label: str
    recommended: bool
    scores: Scores
    test: FreshScores


def confirmation_info(study: Study) -> tuple[Confirmed, ...]:
    """Each confirmed setting once, and the baselines, by rising test ASR; a control under its name."""
    chosen = study.recommended.number if study.recommended else None
    found: dict[int | str, Confirmed] = {}
    for point in (*study.front, *([study.recommended] if study.recommended else []), *study.controls):
        if point.test is None:
            continue
        share = setting("clean_fraction", point.params.get("clean_fraction"))
        named = point in study.controls
        label = f"{control_label(point.name)}, {share}" if named else f"setting {point.number}"
        recommended = point.number is not None and point.number == chosen
        label += ", recommended" if recommended else ""
        key = label if point.number is None else point.number
        found[key] = Confirmed(point.number, label, recommended, point.scores, point.test)
    return tuple(sorted(found.values(), key=lambda one: (one.test.asr, one.number is None, one.number or 0)))


def confirmation_figure(info: tuple[Confirmed, ...], objective: Objective) -> go.Figure:
    """One row for each setting: an open circle for the search, a dot for each draw, a cross for their mean.

    A line is the mean's interval.
    """
    figure = go.Figure(layout=layout())
    name, rows = objective.name, list(range(len(info)))
    colours = [LIGHT.accent if one.recommended else LIGHT.ink for one in info]
    for row, (one, colour) in enumerate(zip(info, colours, strict=True)):
        if ends := getattr(one.test, f"{name}_ci"):
            x = [100 * end for end in ends]
            line = {"color": colour, "width": 1.5}
            figure.add_scatter(x=x, y=[row, row], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    _add_draws(figure, info, name)
    points: dict[str, Any] = {"y": rows, "mode": "markers", "hoverinfo": "text", "cliponaxis": False}
    figure.add_scatter(
        x=[100 * getattr(one.scores, name) for one in info],
        name="in the search",
        marker={"symbol": "circle-open", "size": 10, "color": colours, "line": {"width": 2}},
        hovertext=[hover(one.label, {"in the search": percent(getattr(one.scores, name))}) for one in info],
        **points,
    )
    figure.add_scatter(
        x=[100 * getattr(one.test, name) for one in info],
        name="on the test images",
        marker={"symbol": "x-thin", "size": 10, "color": colours, "line": {"width": 2.5, "color": colours}},
        hovertext=[_test_hover(one, name) for one in info],
        **points,
    )
    figure.update_xaxes(title_text=objective.label, range=[-2, 102], ticksuffix="%", dtick=25)
    labels = [escape(one.label) for one in info]
    figure.update_yaxes(tickvals=rows, ticktext=labels, range=[len(info) - 0.4, -0.6], showgrid=False)
    return figure


def _test_hover(one: Confirmed, name: str) -> str:
    score = with_interval(getattr(one.test, name), getattr(one.test, f"{name}_ci"))
    return hover(one.label, {f"test {name.upper()}": score, "measured": seeds(one.test.seeds)})


def _add_draws(figure: go.Figure, info: tuple[Confirmed, ...], name: str) -> None:
    """Each run by itself, if several: their spread says more than the interval of so few."""
    runs = [
        (100 * getattr(run, name), row) for row, one in enumerate(info) for run in one.test.runs if one.test.seeds > 1
    ]
    if not runs:
        return
    x, y = zip(*runs, strict=True)
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        name="each draw",
        marker={"symbol": "circle", "size": 5, "color": LIGHT.muted},
        hoverinfo="skip",
        cliponaxis=False,
    )


def confirmation_section(study: Study) -> FigureSection:
    """The figure for the page: a panel for each objective."""
    info = confirmation_info(study)
    if not info:
        return too_little(
            NAME,
            TITLE,
            "No setting was confirmed on the test images: the study ran without --confirm, or has not come to it.",
        )
    columns: dict[str, list[Any]] = {
        "what": [one.label for one in info],
        "setting": ["" if one.number is None else one.number for one in info],
        "seeds": [one.test.seeds for one in info],
    }
    scores: dict[str, list[float | str]] = {}
    for name in (objective.name for objective in OBJECTIVES):
        scores[f"search {name}"] = [round(getattr(one.scores, name), 6) for one in info]
        scores[f"test {name}"] = [round(getattr(one.test, name), 6) for one in info]
        for end, which in enumerate(("low", "high")):
            bounds = [getattr(one.test, f"{name}_ci") for one in info]
            scores[f"test {name} {which}"] = ["" if ends is None else round(ends[end], 6) for ends in bounds]
    panels = tuple(
        Panel(
            confirmation_figure(info, objective),
            f"{objective.label.capitalize()} in the search and on the test images of {len(info)} settings.",
        )
        for objective in OBJECTIVES
    )
    note = (
        f"Circle: {'the estimate' if study.estimated else 'the one run'} of the search. Dots: each draw of clean"
        " images, with fresh seeds, on images not used for tuning. Cross: their mean, with its 95% interval if there"
        " are several."
    )
    return FigureSection(NAME, TITLE, sentence(info), note, panels, columns | scores, 7.5 + 1.8 * len(info))


def sentence(info: tuple[Confirmed, ...]) -> str:
    """How many of the confirmed settings were as good again, and how wide the intervals are."""
    worse = sum(one.test.asr > one.scores.asr for one in info)
    text = f"{worse} of {len(info)} confirmed settings have a higher ASR on the test images than in the search"
    known = [(one.scores.asr, one.test.asr_ci) for one in info if one.test.asr_ci]
    if not known:
        return f"{text}; a single seed each has no interval."
    outside = sum(not low <= asr <= high for asr, (low, high) in known)
    wide = sum(high - low > 0.5 for _asr, (low, high) in known)
    text += f"; {outside or 'none'} had an ASR in the search outside its test interval."
    if wide:
        text += f" {wide} intervals are more than half the scale wide: so few seeds cannot rank these."
    return text

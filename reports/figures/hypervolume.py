"""How the front grew, by trials and by time, against the same trials in a random order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.analysis.convergence import FLAT
from reports.analysis.frontier import expected_hypervolume, front_order, hypervolume
from reports.analysis.objectives import Floats
from reports.figures.drawing import layout
from reports.figures.groups import shares
from reports.figures.palette import LIGHT
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import quantity
from reports.study_folder import Study
from reports.trial_table import trial_costs

NAME, TITLE = "hypervolume", "Was the search long enough?"


class HypervolumeInfo(NamedTuple):
    """values[i]: hypervolume of the first i + 1 reliable settings, as first erased; numbers[i]: the last of them.

    minutes: when each finished, since the first trial started; NaN if unknown.
    expected: mean for i + 1 trials in a random order.
    """

    numbers: tuple[int, ...]
    values: Floats
    minutes: Floats
    expected: Floats


def hypervolume_info(study: Study) -> HypervolumeInfo:
    """How the front grew, with settings in the order of their first erase, at their last estimates."""
    complete = study.reliable
    finished = complete["started"] + pd.to_timedelta(complete["seconds"], unit="s")
    ordered = complete.assign(finished=finished).sort_values(["finished", "number"])
    front, values = np.empty((0, 2)), []
    costs = trial_costs(ordered)
    for cost in costs:
        front = np.vstack((front, cost))
        front = front[front_order(front)]
        values.append(hypervolume(front))
    minutes = (ordered["finished"] - study.trials["started"].min()).dt.total_seconds() / 60
    return HypervolumeInfo(
        tuple(ordered["number"]), np.array(values), minutes.to_numpy(dtype=float), expected_hypervolume(costs)
    )


def hypervolume_figure(info: HypervolumeInfo) -> go.Figure:
    """Hypervolume over time; after a long flat stretch, more trials of this space add little."""
    figure = _drawing(info, np.arange(1.0, len(info.values) + 1))
    figure.add_scatter(
        x=np.arange(1, len(info.values) + 1),
        y=info.expected,
        mode="lines",
        name="same settings, random order",
        line={"color": LIGHT.muted, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )
    whole = 1 if len(info.values) < 10 else None
    figure.update_xaxes(title_text="settings, in the order of their first erase", rangemode="tozero", dtick=whole)
    return figure


def hypervolume_time_figure(info: HypervolumeInfo) -> go.Figure:
    """The same against the clock: a long pause of an interrupted study is part of it."""
    figure = _drawing(info, info.minutes)
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title_text="minutes since the first trial started", rangemode="tozero")
    return figure


def hypervolume_section(study: Study) -> FigureSection:
    """The figure for the page."""
    count = len(study.reliable)
    if count < 2:
        return too_little(NAME, TITLE, f"How the front grew takes at least two settings; there {_are(count)}.")
    info = hypervolume_info(study)
    words = f"it ends at {info.values[-1]:.4f}"
    panels = [Panel(hypervolume_figure(info), f"Hypervolume against the number of settings; {words}.")]
    if np.isfinite(info.minutes).all():
        panels.append(Panel(hypervolume_time_figure(info), f"Hypervolume against minutes; {words}."))
    return FigureSection(
        NAME,
        TITLE,
        " ".join(filter(None, (study.stopped, sentence(info)))),
        "Hypervolume: the share of the square of ASR and ACC dominated by the front. Dotted: its mean for as many of"
        " the same settings in a random order. That is no random search: a gap only shows an early start.",
        tuple(panels),
        {
            "settings": list(range(1, count + 1)),
            "setting": list(info.numbers),
            "minutes": [round(float(value), 3) for value in info.minutes],
            "hypervolume": shares(info.values),
            "same settings in random order": shares(info.expected),
        },
        20.0,
    )


def sentence(info: HypervolumeInfo) -> str:
    """A verdict on more settings, and on their order."""
    count, last = len(info.values), info.values[-1]
    third = max(count // 3, 1)
    added = last - info.values[-third - 1]
    recent = f"the last setting added {added:.4f}" if third == 1 else f"the last {third} settings added {added:.4f}"
    if last == 0:
        return "No setting dominates anything yet: the hypervolume is 0."
    if count < 9:
        verdict = f"{recent}; {count} settings are too few for a verdict on more."
    elif added < FLAT * last:
        verdict = f"{recent}, so more settings of the same space would probably add little."
    else:
        verdict = f"{recent}, so it was still growing, and more settings may find better ones."
    half = count // 2 - 1
    ahead = info.values[half] - info.expected[half]
    if abs(ahead) < FLAT * last:
        order = "about the same as in a random order"
    else:
        more = "more" if ahead > 0 else "less"
        order = f"{more} than the {info.expected[half]:.4f} of the same settings in a random order"
    return (
        f"Of a hypervolume of {last:.4f}, {verdict} After {quantity(half + 1)} it was {info.values[half]:.4f}, {order}."
    )


def _drawing(info: HypervolumeInfo, x: Floats) -> go.Figure:
    figure = go.Figure(layout=layout())
    figure.add_scatter(
        x=x,
        y=info.values,
        mode="lines+markers",
        name="this search",
        line={"color": LIGHT.ramp[3], "width": 2, "shape": "hv"},
        marker={"size": 5},
        customdata=np.array(info.numbers),
        hovertemplate="<b>%{y:.4f}</b><br>after setting: %{customdata}<extra></extra>",
    )
    figure.update_yaxes(title_text="hypervolume", tickformat=".2f")
    return figure


def _are(count: int) -> str:
    return "is one" if count == 1 else "is none" if count == 0 else f"are {count}"

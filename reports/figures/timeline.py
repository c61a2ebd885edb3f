"""Each worker's trials over time, and their ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.figures.drawing import escape, layout
from reports.figures.palette import LIGHT
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import STATE_LABELS, duration, percent
from reports.study_folder import Study

NAME, TITLE = "timeline", "Who ran what, when"
SLACK = 1.5
"""Allowed overlap in seconds of two trials of one worker: starts are recorded in whole seconds."""
LOOKS = {
    "COMPLETE": (LIGHT.ramp[3], ""),
    "RUNNING": (LIGHT.ramp[0], "."),
    "PRUNED": (LIGHT.muted, "/"),
    "FAIL": (LIGHT.accent, "x"),
}
"""Colour and pattern, since some readers cannot tell the colours apart."""


class TrialSpan(NamedTuple):
    """One trial.  start, seconds: from the study's first start; lane: index of the worker's row."""

    number: int
    state: str
    lane: int
    start: float
    seconds: float


class TimelineInfo(NamedTuple):
    """lanes: names of the rows; unknown: number of trials without recorded times.

    busy: share of all lanes' time, from the first start to the last end, spent in trials.
    """

    runs: tuple[TrialSpan, ...]
    lanes: tuple[str, ...]
    unknown: int
    busy: float

    @property
    def end(self) -> float:
        """Seconds from the first start to the last end."""
        return max((run.start + run.seconds for run in self.runs), default=0.0)


def timeline_info(study: Study) -> TimelineInfo:
    """Trials in rows, one for each worker; the record names hosts, so a host's workers are told apart by overlaps."""
    trials = study.trials
    created: Any = pd.to_datetime(study.summary.created, utc=True, errors="coerce")
    running = (trials["state"] == "RUNNING").to_numpy()
    so_far = (created - trials["started"]).dt.total_seconds().to_numpy()
    seconds = np.where(running & trials["seconds"].isna().to_numpy(), so_far, trials["seconds"].to_numpy())
    known = trials.assign(span=np.maximum(seconds, 0))[trials["started"].notna().to_numpy() & ~np.isnan(seconds)]
    start = (known["started"] - trials["started"].min()).dt.total_seconds()
    known = known.assign(start=start).sort_values(["start", "number"])
    hosts = list(dict.fromkeys(sorted(known["host"])))
    runs: list[TrialSpan] = []
    lanes: list[str] = []
    for host in hosts:
        rows = known[known["host"] == host].to_dict("records")
        places, count = _lanes(rows)
        runs += [
            TrialSpan(row["number"], row["state"], len(lanes) + place, row["start"], row["span"])
            for row, place in zip(rows, places, strict=True)
        ]
        lanes += [f"{host or 'host not known'} · {index + 1}" for index in range(count)]
    whole = max((run.start + run.seconds for run in runs), default=0.0) * len(lanes)
    busy = min(sum(run.seconds for run in runs) / whole, 1.0) if whole else 0.0
    return TimelineInfo(tuple(runs), tuple(lanes), len(trials) - len(runs), busy)


def timeline_figure(info: TimelineInfo) -> go.Figure:
    """A bar for each trial, in the row of its worker."""
    figure = go.Figure(layout=layout())
    for state, (colour, pattern) in LOOKS.items():
        runs = [run for run in info.runs if run.state == state]
        if not runs:
            continue
        figure.add_bar(
            base=[run.start / 60 for run in runs],
            x=[run.seconds / 60 for run in runs],
            y=[run.lane for run in runs],
            orientation="h",
            width=0.7,
            name=STATE_LABELS[state],
            marker={
                "color": colour,
                "line": {"color": LIGHT.paper, "width": 1 if len(info.runs) <= 300 else 0},
                "pattern": {"shape": pattern, "fgcolor": LIGHT.paper, "size": 6},
            },
            customdata=[[run.number, f"{STATE_LABELS[state]}, {duration(run.seconds)}"] for run in runs],
            hovertemplate="<b>Trial %{customdata[0]}</b><br>%{customdata[1]}<extra></extra>",
            showlegend=True,
        )
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title_text="minutes since the first trial started", rangemode="tozero")
    figure.update_yaxes(
        tickvals=list(range(len(info.lanes))),
        ticktext=[escape(name) for name in info.lanes],
        range=[len(info.lanes) - 0.4, -0.6],
        showgrid=False,
    )
    return figure


def timeline_section(study: Study) -> FigureSection:
    """The figure for the page."""
    info = timeline_info(study)
    if not info.runs:
        return too_little(NAME, TITLE, "No trial says when it started and how long it took.")
    return FigureSection(
        NAME,
        TITLE,
        sentence(info),
        "Each bar is one trial. The record names hosts, not workers: a host has as many rows as trials ran at once.",
        (Panel(timeline_figure(info), f"Timeline of {len(info.runs)} trials in {len(info.lanes)} rows."),),
        {
            "trial": [run.number for run in info.runs],
            "state": [run.state for run in info.runs],
            "worker": [info.lanes[run.lane] for run in info.runs],
            "start in seconds": [round(run.start, 3) for run in info.runs],
            "seconds": [round(run.seconds, 3) for run in info.runs],
        },
        min(7.5 + 2.2 * len(info.lanes), 40.0),
    )


def sentence(info: TimelineInfo) -> str:
    """How many worked side by side for how long, and how busy they were."""
    rows = "one trial at a time" if len(info.lanes) == 1 else f"up to {len(info.lanes)} trials side by side"
    unknown = f" {info.unknown} of the trials do not say when they ran." if info.unknown else ""
    return f"In {duration(info.end)} the study ran {rows}, busy {percent(info.busy, 0)} of that time.{unknown}"


def _lanes(rows: Sequence[dict[Any, Any]]) -> tuple[list[int], int]:
    """For each run, by rising start, the first free row; and the number of rows."""
    free: list[float] = []
    places = []
    for row in rows:
        place = next((index for index, until in enumerate(free) if until <= row["start"] + SLACK), len(free))
        if place == len(free):
            free.append(0.0)
        free[place] = row["start"] + row["span"]
        places.append(place)
    return places, len(free)

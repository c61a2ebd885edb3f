"""How much the draw matters: each setting's ASR on each draw of clean images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.analysis.objectives import Floats
from reports.figures.drawing import hover, layout
from reports.figures.groups import shares
from reports.figures.palette import LIGHT, ramp_colours
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import percent, settings
from reports.study_folder import Study

NAME, TITLE = "draws", "How much the draw of clean images matters"
MOST_SETTINGS = 25
"""The lowest by ASR; more rows would be unreadable."""


class DrawsInfo(NamedTuple):
    """The runs of the settings with several draws, by rising estimate.

    several: how many there are, drawn or not.  share: of a single erase's variance in ASR, the part that its setting
    does not explain: kappa / (1 + kappa).
    """

    settings: tuple[int, ...]
    estimates: Floats
    """(settings,) ASR."""
    row: Floats
    """(runs,) index of each run's setting."""
    draw: Floats
    asr: Floats
    """(runs,) fractions."""
    several: int
    share: float

    @property
    def within(self) -> float:
        """Standard deviation of ASR between the draws of one setting, pooled."""
        counts = np.bincount(self.row.astype(int))
        means = np.bincount(self.row.astype(int), self.asr) / counts
        return float(np.sqrt(((self.asr - means[self.row.astype(int)]) ** 2).sum() / (counts - 1).sum()))


def draws_info(study: Study) -> DrawsInfo:
    """The settings with at least two draws; the first MOST_SETTINGS of them."""
    several = study.settings[study.settings["draws"] > 1].sort_values("asr")
    drawn = several.head(MOST_SETTINGS)
    place = {setting: row for row, setting in enumerate(drawn["setting"])}
    runs = study.complete[study.complete["setting"].isin(place)]
    return DrawsInfo(
        tuple(drawn["number"]),
        drawn["asr"].to_numpy(dtype=float),
        runs["setting"].map(place).to_numpy(dtype=float),
        runs["draw"].to_numpy(dtype=float),
        runs["asr"].to_numpy(dtype=float),
        len(several),
        _share(several),
    )


def _share(settings: pd.DataFrame) -> float:
    """From n / (n + kappa) of any of them; NaN of none."""
    if len(settings) == 0:
        return float("nan")
    draws, reliability = (float(settings[name].iloc[0]) for name in ("draws", "reliability"))
    kappa = draws * (1 - reliability) / reliability
    return kappa / (1 + kappa)


def draws_figure(info: DrawsInfo) -> go.Figure:
    """One row for each setting, one dot for each draw, one colour for each draw; a bar at the estimate."""
    figure = go.Figure(layout=layout())
    draws = np.unique(info.draw)
    colours = ramp_colours(min(len(draws), len(LIGHT.ramp)))
    for index, draw in enumerate(draws):
        mine = info.draw == draw
        figure.add_scatter(
            x=100 * info.asr[mine],
            y=info.row[mine],
            mode="markers",
            name=f"draw {draw:.0f}",
            marker={"size": 10, "color": colours[index % len(colours)]},
            hovertext=[
                hover(f"Setting {info.settings[int(row)]}, draw {draw:.0f}", {"ASR": percent(asr)})
                for row, asr in zip(info.row[mine], info.asr[mine], strict=True)
            ],
            hoverinfo="text",
            cliponaxis=False,
        )
    figure.add_scatter(
        x=100 * info.estimates,
        y=list(range(len(info.settings))),
        mode="markers",
        name="estimate",
        marker={"symbol": "line-ns", "size": 16, "line": {"width": 2, "color": LIGHT.ink}},
        hoverinfo="skip",
    )
    figure.update_xaxes(title_text="attack success rate", range=[-2, 102], ticksuffix="%", dtick=25)
    figure.update_yaxes(
        title_text="setting",
        tickvals=list(range(len(info.settings))),
        ticktext=[str(number) for number in info.settings],
        range=[len(info.settings) - 0.4, -0.6],
        showgrid=False,
    )
    return figure


def draws_section(study: Study) -> FigureSection:
    """The figure for the page."""
    info = draws_info(study)
    if not info.settings:
        return too_little(NAME, TITLE, "Every setting was run on one draw: how much the draw matters is unknown.")
    were = "was" if info.several == 1 else "were"
    shown = f" Drawn: the {MOST_SETTINGS} with the lowest ASR." if info.several > MOST_SETTINGS else ""
    return FigureSection(
        NAME,
        TITLE,
        f"{settings(info.several)} {were} run on several draws. From draw to draw, the ASR of one setting has a"
        f" standard deviation of {100 * info.within:.1f} points. Of the variance between single erases, about"
        f" {percent(info.share, 0)} is the draw’s and chance’s, the rest the setting’s.{shown}",
        "A draw is one defender: its clean images, the teacher made from them, the order of its batches. One row is one"
        " setting, one dot its erase on one draw, one colour one draw. The bar is the estimate over fresh draws.",
        (Panel(draws_figure(info), "Attack success rate of each setting on each draw of clean images."),),
        {
            "setting": [info.settings[int(row)] for row in info.row],
            "draw": [int(draw) for draw in info.draw],
            "asr": shares(info.asr),
        },
        height=max(14.0, 5.0 + 1.6 * len(info.settings)),
    )

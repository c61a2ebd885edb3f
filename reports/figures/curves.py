"""ASR and accuracy over the epochs of the front's settings, on their first draw: does the backdoor come back?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from reports.analysis.frontier import front_order
from reports.analysis.objectives import Floats
from reports.figures.drawing import hover, stacked
from reports.figures.palette import LIGHT, ramp_colours
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import percent, settings
from reports.study_folder import Study
from reports.trial_table import read_curve, trial_costs

NAME, TITLE = "curves", "The front’s settings, epoch by epoch"
MOST_CURVES = len(LIGHT.ramp)
"""As many as there are colours to tell them apart, beside the recommended one."""
RETURN = 0.05
"""A backdoor came back if ASR ends this much above its lowest epoch."""


class Curve(NamedTuple):
    """scores: (epochs, 2), ASR and accuracy after each epoch, on a subset of the validation images."""

    number: int
    recommended: bool
    scores: Floats

    @property
    def returned(self) -> bool:
        """True if the backdoor came back after its lowest epoch."""
        return bool(self.scores[-1, 0] - self.scores[:, 0].min() > RETURN)


class CurvesInfo(NamedTuple):
    """curves: of the front's settings with one, by rising ASR; drawn: their indices."""

    front: int
    curves: tuple[Curve, ...]
    drawn: tuple[int, ...]


def curves_info(study: Study) -> CurvesInfo:
    """The recommended setting and others spread evenly over the front; a curve takes at least two epochs."""
    reliable = study.reliable
    order = front_order(trial_costs(reliable))
    chosen = study.recommended.number if study.recommended else None
    curves = []
    for number, text in zip(reliable["number"].iloc[order], reliable["curve"].iloc[order], strict=True):
        scores = read_curve(text)
        if len(scores) > 1:
            curves.append(Curve(number, number == chosen, scores))
    others = [index for index, curve in enumerate(curves) if not curve.recommended]
    spread = np.unique(np.linspace(0, len(others) - 1, min(len(others), MOST_CURVES)).round().astype(int))
    drawn = {others[index] for index in spread} | {index for index, curve in enumerate(curves) if curve.recommended}
    return CurvesInfo(len(order), tuple(curves), tuple(sorted(drawn)))


def curves_figure(info: CurvesInfo) -> go.Figure:
    """ASR above, accuracy below; the recommended setting stands out."""
    figure = stacked("ASR", "ACC")
    drawn = [info.curves[index] for index in info.drawn]
    colours = iter(reversed(ramp_colours(max(sum(not curve.recommended for curve in drawn), 1))))
    for curve in drawn:
        line = {"color": LIGHT.accent, "width": 3} if curve.recommended else {"color": next(colours), "width": 1.5}
        title = f"setting {curve.number}" + (" (recommended)" if curve.recommended else "")
        for column, (place, score) in enumerate((("y", "ASR"), ("y2", "ACC"))):
            values = curve.scores[:, column]
            figure.add_scatter(
                x=np.arange(1, len(values) + 1),
                y=100 * values,
                yaxis=place,
                mode="lines+markers",
                line=line,
                marker={"size": 4},
                name=title,
                legendgroup=title,
                showlegend=column == 0,
                hovertext=[hover(title, {"epoch": at, score: percent(v)}) for at, v in enumerate(values, start=1)],
                hoverinfo="text",
            )
    figure.update_xaxes(title_text="epoch", rangemode="tozero")
    figure.update_layout(
        yaxis={"range": [-4, 104], "ticksuffix": "%", "dtick": 25}, yaxis2={"ticksuffix": "%", "nticks": 6}
    )
    return figure


def curves_section(study: Study) -> FigureSection:
    """The figure for the page."""
    info = curves_info(study)
    if not info.curves:
        return too_little(NAME, TITLE, "No setting on the front has scores of two epochs or more.")
    rows = [
        (curve.number, epoch, round(float(asr), 6), round(float(acc), 6))
        for curve in info.curves
        for epoch, (asr, acc) in enumerate(curve.scores, start=1)
    ]
    return FigureSection(
        NAME,
        TITLE,
        sentence(info),
        "Each line is one erase: its setting’s first. Measured after each epoch on a small subset of the validation"
        " images, so single steps are noisy."
        + (
            f" Drawn: {len(info.drawn)} of {len(info.curves)}, spread over the front."
            if len(info.drawn) < len(info.curves)
            else ""
        ),
        (Panel(curves_figure(info), f"ASR and accuracy over epochs of {settings(len(info.drawn))} on the front."),),
        dict(zip(("setting", "epoch", "asr", "acc"), map(list, zip(*rows, strict=True)), strict=True)),
        29.0,
    )


def sentence(info: CurvesInfo) -> str:
    """The number of front settings with a returned backdoor, and the recommended one's course."""
    returned, count = sum(curve.returned for curve in info.curves), len(info.curves)
    far = f"more than {100 * RETURN:g} points above its lowest on the way"
    if count == 1:
        text = f"The ASR of the front’s only setting {'ends' if returned else 'does not end'} {far}."
    else:
        text = f"In {returned or 'none'} of the {count} settings on the front ASR ends {far}."
    for curve in info.curves:
        if curve.recommended:
            lowest = int(curve.scores[:, 0].argmin())
            text += (
                f" The first erase of the recommended setting {curve.number} was at its lowest,"
                f" {percent(curve.scores[lowest, 0])} at"
                f" {percent(curve.scores[lowest, 1])} accuracy, after epoch {lowest + 1} of {len(curve.scores)}, and"
                f" ends at {percent(curve.scores[-1, 0])}."
            )
    return text

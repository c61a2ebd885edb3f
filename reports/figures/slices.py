"""ASR and accuracy against the beta of each layer."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from scipy import stats

from reports.analysis.frontier import Mask
from reports.analysis.hyperparameter import Hyperparameter
from reports.analysis.objectives import Floats
from reports.figures.drawing import escape, stacked
from reports.figures.groups import Texts, clean_fraction_groups, shares, trial_hovers
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import settings
from reports.hyperparameters import Axis, axis, betas
from reports.study_folder import Study

NAME, TITLE = "slices", "Scores against beta, layer by layer"
LEAST_DISTILLED = 5
SIGNIFICANT = 0.05


class Slice(NamedTuple):
    """One layer's beta in every setting, and its place on the axis."""

    beta: Hyperparameter
    axis: Axis


class SlicesInfo(NamedTuple):
    """asr, acc: (n,) fractions of all settings; groups: colour and settings of each clean fraction."""

    numbers: tuple[int, ...]
    asr: Floats
    acc: Floats
    groups: tuple[tuple[str, Mask], ...]
    hover: Texts
    slices: tuple[Slice, ...]


def slices_info(study: Study) -> SlicesInfo:
    """One slice for each layer distilled at different strengths by enough settings."""
    complete = study.settings
    return SlicesInfo(
        tuple(complete["number"]),
        complete["asr"].to_numpy(dtype=float),
        complete["acc"].to_numpy(dtype=float),
        tuple((colour, mask) for _, colour, mask in clean_fraction_groups(complete)),
        trial_hovers(study),
        tuple(Slice(beta, axis(beta)) for beta in betas(complete) if _says_something(beta)),
    )


def slice_figure(info: SlicesInfo, index: int) -> go.Figure:
    """ASR above, accuracy below, of one layer; settings without it stand at the left."""
    one = info.slices[index]
    figure = stacked("ASR", "ACC")
    for (scores, place), (colour, mask) in product(((info.asr, "y"), (info.acc, "y2")), info.groups):
        figure.add_scatter(
            x=one.axis.positions[mask],
            y=100 * scores[mask],
            yaxis=place,
            mode="markers",
            marker={"color": colour, "size": 7},
            hovertext=info.hover[mask],
            hoverinfo="text",
            cliponaxis=False,
            showlegend=False,
        )
    figure.update_xaxes(
        title_text=escape(one.beta.label),
        range=[-0.06, 1.06],
        tickvals=[place for place, _ in one.axis.ticks],
        ticktext=[escape(text) for _, text in one.axis.ticks],
    )
    figure.update_layout(yaxis={"range": [-4, 104], "ticksuffix": "%", "dtick": 50}, yaxis2={"ticksuffix": "%"})
    return figure


def slices_section(study: Study) -> FigureSection:
    """The figure for the page: a panel for each layer."""
    info = slices_info(study)
    if not info.slices:
        return too_little(
            NAME, TITLE, f"No layer was distilled at different strengths in {LEAST_DISTILLED} settings or more."
        )
    panels = tuple(
        Panel(
            slice_figure(info, index),
            f"ASR and accuracy of {settings(len(info.numbers))} against {one.beta.label}.",
        )
        for index, one in enumerate(info.slices)
    )
    values = {one.beta.label: ["" if beta is None else beta for beta in one.beta.values] for one in info.slices}
    return FigureSection(
        NAME,
        TITLE,
        sentence(info),
        "Each point is one setting, at its estimated scores, in its clean fraction’s colour of the frontier. Its other"
        " values differ too.",
        panels,
        {"setting": list(info.numbers), "asr": shares(info.asr), "acc": shares(info.acc), **values},
        21.0,
    )


def sentence(info: SlicesInfo) -> str:
    """Betas correlated with a score beyond chance: rank correlations over the settings with this layer distilled."""
    found = []
    level = SIGNIFICANT / (2 * len(info.slices))
    for one in info.slices:
        mask = ~one.beta.absent
        for name, scores in (("ASR", info.asr), ("accuracy", info.acc)):
            rho, chance = _correlation(one.beta.numbers[mask], scores[mask])
            if chance < level:
                more = "higher" if rho > 0 else "lower"
                sign = "−" if rho < 0 else ""
                found.append(f"{more} {name} with {one.beta.label} ({sign}{abs(rho):.2f}, {settings(int(mask.sum()))})")
    if not found:
        return "With a layer distilled, no score goes with its beta beyond chance."
    return f"Larger betas go with {_listed(found)}; in brackets the rank correlation."


def _says_something(beta: Hyperparameter) -> bool:
    known = beta.numbers[~beta.absent] if beta.numeric else np.empty(0)
    return len(known) >= LEAST_DISTILLED and len(np.unique(known)) > 1


def _correlation(values: Floats, scores: Floats) -> tuple[float, float]:
    """Spearman's rank correlation and its p-value; None for equal scores."""
    if np.ptp(scores) == 0:
        return 0.0, 1.0
    result = stats.spearmanr(values, scores)
    return float(result.statistic), float(result.pvalue)


def _listed(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]

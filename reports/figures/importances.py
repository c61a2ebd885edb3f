"""Importance of the hyperparameters for ASR and accuracy, beside chance alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from reports.analysis.importance import LEAST_SETTINGS, importances
from reports.analysis.objectives import OBJECTIVES, Floats, Objective
from reports.figures.drawing import escape, hover, layout
from reports.figures.palette import LIGHT
from reports.figures.section import FigureSection, Panel, too_little
from reports.formatting import percent, settings
from reports.hyperparameters import hyperparameters
from reports.study_folder import Study

NAME, TITLE = "importances", "Which hyperparameters the scores go with"
HEADS = {"asr": "Attack success rate", "acc": "Clean accuracy"}
SEED = 0


class ObjectiveImportances(NamedTuple):
    """values: one for each name, at most 1, negative for less than chance on average; see `analysis.importance`."""

    objective: Objective
    names: tuple[str, ...]
    values: Floats
    chance: float

    @property
    def found(self) -> tuple[str, ...]:
        """Those above chance, the largest first."""
        order = np.argsort(-self.values, kind="stable")
        return tuple(self.names[index] for index in order if self.values[index] > self.chance)


class ImportancesInfo(NamedTuple):
    settings: int
    objectives: tuple[ObjectiveImportances, ...]


def importances_info(study: Study) -> ImportancesInfo:
    """Importance of each hyperparameter for each objective.

    Empty for too few settings, or without any variation.
    """
    complete = study.settings
    given = hyperparameters(complete)
    if len(complete) < LEAST_SETTINGS or not given:
        return ImportancesInfo(len(complete), ())
    found = []
    for objective in OBJECTIVES:
        scores = complete[objective.name].to_numpy(dtype=float)
        result = importances(given, scores, np.random.default_rng(SEED))
        found.append(ObjectiveImportances(objective, tuple(one.label for one in given), *result))
    return ImportancesInfo(len(complete), tuple(found))


def importances_figure(one: ObjectiveImportances) -> go.Figure:
    """A bar for each hyperparameter, the longest at the top, and a line at the level of chance."""
    order = np.argsort(one.values, kind="stable")
    names, values = [one.names[index] for index in order], np.maximum(one.values[order], 0)
    figure = go.Figure(layout=layout())
    figure.add_bar(
        x=100 * values,
        y=list(range(len(names))),
        orientation="h",
        width=0.6,
        marker={"color": [LIGHT.ramp[3] if value > one.chance else LIGHT.muted for value in values]},
        hovertext=[hover(name, {"explains": percent(value)}) for name, value in zip(names, values, strict=True)],
        hoverinfo="text",
    )
    figure.add_vline(x=100 * one.chance, line={"color": LIGHT.accent, "width": 1.5, "dash": "dash"})
    top = max(values.max(), one.chance, 0.2)
    figure.update_xaxes(title_text="share of the differences in rank", range=[0, 108 * top], ticksuffix="%", nticks=5)
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=[escape(name) for name in names], showgrid=False)
    return figure


def importances_section(study: Study) -> FigureSection:
    """The figure for the page: a panel for each objective."""
    info = importances_info(study)
    if not info.objectives:
        return too_little(
            NAME,
            TITLE,
            f"What matters cannot be told from {settings(info.settings)}: it takes {LEAST_SETTINGS} that differ.",
        )
    panels = tuple(
        Panel(
            importances_figure(one),
            f"Importances for the {one.objective.label}: "
            + ", ".join(f"{name} {percent(max(value, 0))}" for name, value in zip(one.names, one.values, strict=True)),
            HEADS[one.objective.name],
        )
        for one in info.objectives
    )
    return FigureSection(
        NAME,
        TITLE,
        sentence(info),
        "Bar: Kruskal–Wallis effect size of one hyperparameter alone on the settings’ ranks in an estimated score, over"
        " its values or up to four ranges of them, corrected for their number. Dashed: level of the largest bar in 19"
        " of 20 shuffles of the scores. Hyperparameters acting only together stay short, and the sampler’s preferences"
        " may mix two: a hint, not a cause.",
        panels,
        {
            "hyperparameter": list(info.objectives[0].names),
            **{one.objective.name: [round(float(value), 4) for value in one.values] for one in info.objectives},
            **{f"{one.objective.name}, chance": [round(one.chance, 4)] * len(one.names) for one in info.objectives},
        },
        5.0 + 1.7 * len(info.objectives[0].names),
    )


def sentence(info: ImportancesInfo) -> str:
    """Hyperparameters above chance, for each objective."""
    found = [(HEADS[one.objective.name].lower(), one.found) for one in info.objectives if one.found]
    if not found:
        return f"In {settings(info.settings)} no hyperparameter stands out from chance in either score."
    stands = "; ".join(f"{' and '.join(names)} for {head}" for head, names in found)
    return (
        f"In {settings(info.settings)} these stand out from chance: {stands}. Chance alone may give all shorter bars."
    )

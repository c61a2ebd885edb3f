"""The page of several studies beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.analysis.frontier import front_order
from reports.answer import Answer, answer
from reports.caveats import unfinished
from reports.comparison import (
    FreshVolume,
    caveats,
    control_rows,
    facts_rows,
    families,
    headline,
    settings_rows,
    volumes,
)
from reports.figures.comparison import (
    StudyStyle,
    below_axis,
    fronts_figure,
    fronts_info,
    growth_figure,
    growth_info,
    only,
    study_styles,
    volumes_figure,
)
from reports.figures.groups import shares
from reports.figures.palette import DARK_SERIES, LIGHT_SERIES
from reports.page.frame import whole_page
from reports.study_folder import Study
from reports.trial_table import trial_costs


class Entry(NamedTuple):
    """One study on the page.  measured_on: the images of its answer's scores."""

    study: Study
    style: StudyStyle
    answer: Answer
    measured_on: str
    unfinished: str | None


class Panel(NamedTuple):
    """The studies of one attack and data set, in a figure of their own."""

    figure: str
    title: str
    below: str


def render_comparison(studies: Sequence[Study]) -> str:
    """The page, as the text of one HTML file; the studies stand in the given order."""
    entries = tuple(
        Entry(study, style, answer(study), _measured_on(study), unfinished(study))
        for study, style in zip(studies, study_styles(len(studies)), strict=True)
    )
    info, found = fronts_info(studies), volumes(studies)
    panels = _panels(studies)
    return whole_page(
        "comparison.html",
        ["page.css", "comparison.css"],
        comparison_figures(studies),
        comparison_tables(studies),
        entries=entries,
        headline=headline(studies),
        caveats=tuple(caveats(studies)),
        panels=panels,
        below=below_axis(info, all_trials=not panels),
        volumes=found,
        fewest=min(volume.settings for volume in found),
        settings=settings_rows([entry.answer for entry in entries]),
        controls=control_rows(studies),
        facts=facts_rows(studies),
        confirmed=any(study.confirmed for study in studies),
        series=tuple(zip(LIGHT_SERIES, DARK_SERIES, strict=True)),
    )


def comparison_figures(studies: Sequence[Study]) -> dict[str, go.Figure]:
    """The page's figures by name, in its order."""
    info, names = fronts_info(studies), [study.name for study in studies]
    panels = families(studies)
    figures = {"fronts": fronts_figure(info, all_trials=len(panels) == 1)}
    if len(panels) > 1:
        for number, indices in enumerate(panels.values(), start=1):
            figures[f"panel-{number}"] = fronts_figure(only(info, indices), all_trials=True)
    figures["hypervolumes"] = volumes_figure(names, volumes(studies))
    figures["growth"] = growth_figure(names, growth_info(studies))
    return figures


def comparison_tables(studies: Sequence[Study]) -> dict[str, dict[str, list[Any]]]:
    """The figures' data as columns: every setting, each study's hypervolumes, and their growth."""
    trials = pd.concat(
        [
            study.settings[["number", "draws", "asr", "acc", "reliable"]].assign(study=study.name, front=False)
            for study in studies
        ],
        ignore_index=True,
    )
    start = 0
    for study in studies:
        (reliable,) = np.nonzero(study.settings["reliable"].to_numpy(dtype=bool))
        front = reliable[front_order(trial_costs(study.reliable))]
        trials.loc[[start + int(index) for index in front], "front"] = True
        start += len(study.settings)
    rows = [
        {
            "study": study.name,
            "settings": volume.settings,
            "search": volume.search,
            "search, as many settings as the shortest": volume.even,
            **_fresh_columns(volume.fresh),
        }
        for study, volume in zip(studies, volumes(studies), strict=True)
    ]
    grown = [
        (study.name, count, value)
        for study, growth in zip(studies, growth_info(studies), strict=True)
        for count, value in enumerate(growth.values, start=1)
    ]
    return {
        "fronts": {
            "study": list(trials["study"]),
            "setting": [int(number) for number in trials["number"]],
            "draws": [int(draws) for draws in trials["draws"]],
            "asr": shares(trials["asr"]),
            "acc": shares(trials["acc"]),
            "on the front": [bool(on) for on in trials["front"]],
        },
        "hypervolumes": {head: [row[head] for row in rows] for head in rows[0]},
        "growth": {
            "study": [name for name, _, _ in grown],
            "settings": [count for _, count, _ in grown],
            "hypervolume": shares(value for _, _, value in grown),
        },
    }


def _fresh_columns(fresh: FreshVolume | None) -> dict[str, Any]:
    """Hypervolume of the confirmed points on the test images; empty if none."""
    low, high = fresh.bounds if fresh and fresh.bounds else ("", "")
    mean, points, draws = (fresh.mean, fresh.points, fresh.draws) if fresh else ("", "", "")
    return {"fresh draws, test": mean, "low": low, "high": high, "points": points, "draws": draws}


def _measured_on(study: Study) -> str:
    """As `reports.answer` chooses: test images if both the victim and the recommended setting were confirmed."""
    tested = study.victim.test and study.recommended and study.recommended.test
    return "test images" if tested else "validation images"


def _panels(studies: Sequence[Study]) -> tuple[Panel, ...]:
    """None if all studies are of one attack and data set: the figure of all is their panel."""
    info, found = fronts_info(studies), families(studies)
    if len(found) == 1:
        return ()
    return tuple(
        Panel(f"panel-{number}", f"{attack} on {dataset}", below_axis(only(info, indices), all_trials=True))
        for number, ((attack, dataset), indices) in enumerate(found.items(), start=1)
    )

"""Common to several figures: colours of clean fractions, and hover boxes of trials."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.analysis.frontier import Mask
from reports.analysis.objectives import OBJECTIVE_NAMES
from reports.figures.drawing import hover
from reports.figures.palette import LIGHT, ramp_colours
from reports.formatting import control_label, interval, percent, readable_params, setting
from reports.study_folder import Scores, Study, trial_scores

Texts = NDArray[np.object_]


def clean_fraction_groups(complete: pd.DataFrame) -> list[tuple[str, str, Mask]]:
    """Label, colour and rows of the trials of each clean fraction, from little to much clean data.

    More fractions than colours become ranges, one per colour. Trials without a clean fraction come last, in grey.
    """
    stated = [params.get("clean_fraction") for params in complete["params"]]
    fractions = np.array([value if isinstance(value, float | int) else np.nan for value in stated], dtype=float)
    levels = np.unique(fractions[~np.isnan(fractions)])
    chunks = [chunk for chunk in np.array_split(levels, min(len(levels), len(LIGHT.ramp)) or 1) if len(chunk)]
    groups = []
    for chunk, colour in zip(chunks, ramp_colours(len(chunks)), strict=True):
        ends = dict.fromkeys(setting("clean_fraction", float(end)) for end in (chunk[0], chunk[-1]))
        groups.append((" to ".join(ends), colour, (fractions >= chunk[0]) & (fractions <= chunk[-1])))
    if np.isnan(fractions).any():
        groups.append(("not stated", LIGHT.muted, np.isnan(fractions)))
    return groups


def _trial_hover(row: dict[Any, Any]) -> str:
    control = {"control": control_label(row["control"])} if row["control"] else {}
    ends = [(row[f"{name}_low"], row[f"{name}_high"]) for name in OBJECTIVE_NAMES]
    known = {} if np.isnan(ends).any() else {"95% intervals": " / ".join(interval(end) for end in ends)}
    known |= {"draws": str(row["draws"])} if known else {}
    return point_hover(f"Setting {row['number']}", trial_scores(row), known | control | readable_params(row["params"]))


def point_hover(title: str, scores: Scores, lines: dict[str, str]) -> str:
    balanced = {} if scores.balanced_acc is None else {"balanced ACC": percent(scores.balanced_acc)}
    return hover(title, {"ASR": percent(scores.asr), "ACC": percent(scores.acc)} | balanced | lines)


@lru_cache(maxsize=1)
def trial_hovers(study: Study) -> Texts:
    """The hover box of each setting; made once for all figures.  Returns (n,), of str."""
    return np.array([_trial_hover(row) for row in study.settings.to_dict("records")], dtype=object)


def shares(scores: Any) -> list[float]:
    """Fractions as the figures' data has them: short, and fine enough for any number of images."""
    return [round(float(score), 6) for score in scores]

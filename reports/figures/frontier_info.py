"""The frontier as data: complete trials, the front, named marks, the axes' ends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.analysis.frontier import Mask, front_order, knee, step_line
from reports.analysis.objectives import Floats
from reports.figures.confirmation import Confirmed, confirmation_info
from reports.figures.groups import Texts, clean_fraction_groups, point_hover, trial_hovers
from reports.formatting import control_label, percent, readable_params, setting
from reports.study_folder import Point, Scores, Study, trial_scores
from reports.trial_table import trial_costs

CONTROL_SYMBOLS = ("diamond-open", "square-open", "triangle-up-open", "pentagon-open", "hexagram-open", "star-open")
SPAN_TO_SCALE = 0.25
"""Least span shown below the victim's accuracy: a collapse further down would flatten the rest. Also the largest span
of a shortened ASR axis.
"""
LEAST_ASR_SPAN = 0.05
"""Shortest axis of ASR."""
TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
"""Points from one tick to the next."""
MOST_TICKS = 7


class TrialGroup(NamedTuple):
    """Settings of one colour.  asr, acc: (n,) fractions."""

    label: str
    colour: str
    numbers: tuple[int, ...]
    asr: Floats
    acc: Floats
    hover: Texts
    reliable: Mask
    """False for settings with too few draws for the front."""


class Mark(NamedTuple):
    """A named point: a control, the victim, or the recommended setting. One symbol for each name."""

    label: str
    symbol: str
    scores: Scores
    hover: str


class FrontierInfo(NamedTuple):
    """line: (m, 2) vertices of the front as (ASR, ACC).  knee: None if it is the recommended point.

    acc_range, most_asr: ends of the axes; points beyond are drawn at the edge.  below, beyond: their numbers.
    """

    groups: tuple[TrialGroup, ...]
    front: tuple[int, ...]
    line: Floats
    victim: Mark
    controls: tuple[Mark, ...]
    recommended: Mark | None
    knee: Mark | None
    confirmed: tuple[Confirmed, ...]
    least_acc: float
    acc_range: tuple[float, float]
    most_asr: float
    below: int
    beyond: int

    @property
    def marks(self) -> tuple[Mark, ...]:
        """In the order of drawing."""
        return (*([self.knee] if self.knee else []), self.victim, *self.controls, *filter(None, [self.recommended]))

    @property
    def x_range(self) -> tuple[float, float]:
        """Ends of the axis of ASR in percent."""
        return -2 * self.most_asr, 102 * self.most_asr

    @property
    def y_range(self) -> tuple[float, float]:
        """Ends of the axis of ACC in percent."""
        return 100 * self.acc_range[0], 100 * self.acc_range[1]

    def place(self, scores: Floats) -> Floats:
        """Drawn places of (ASR, ACC) points.  scores: (n, 2) fractions, as is the result."""
        asr = np.minimum(scores[:, 0], self.most_asr)
        return np.column_stack((asr, drawn_acc(scores[:, 1], self.acc_range)))


def frontier_info(study: Study) -> FrontierInfo:
    """All settings, their front, the victim and the controls."""
    complete, controls, hovers = study.settings, _control_marks(study.controls), trial_hovers(study)
    acc = complete["acc"].to_numpy()
    asr = complete["asr"].to_numpy()
    acc_range = _acc_range([*acc, *(mark.scores.acc for mark in controls)], study.victim.scores.acc, study.least_acc)
    most_asr = _most_asr([*asr, *(mark.scores.asr for mark in controls)])
    reliable = study.reliable
    costs = trial_costs(reliable)
    bend, chosen = knee(costs), study.recommended
    bent = None if bend is None else _trial_point("knee", reliable.iloc[bend].to_dict())
    steps = step_line(costs)
    return FrontierInfo(
        groups=tuple(
            _group(complete[mask], label, colour, hovers[mask])
            for label, colour, mask in clean_fraction_groups(complete)
        ),
        front=tuple(reliable["number"].iloc[front_order(costs)]),
        line=np.column_stack((steps[:, 0], 1 - steps[:, 1])),
        victim=_mark(control_label(study.victim.name), "circle-x-open", study.victim),
        controls=controls,
        recommended=_mark("recommended", "circle-open", chosen) if chosen else None,
        knee=_mark("knee", "circle-open", bent) if bent and not (chosen and bent.number == chosen.number) else None,
        confirmed=confirmation_info(study),
        least_acc=study.least_acc,
        acc_range=acc_range,
        most_asr=most_asr,
        below=int((acc < acc_range[0]).sum()),
        beyond=int((asr > most_asr).sum()),
    )


def _trial_point(name: str, row: dict[Any, Any]) -> Point:
    return Point(name, row["number"], row["params"], trial_scores(row))


def _group(rows: pd.DataFrame, label: str, colour: str, hovers: Texts) -> TrialGroup:
    scores = rows["asr"].to_numpy(), rows["acc"].to_numpy()
    return TrialGroup(label, colour, tuple(rows["number"]), *scores, hovers, rows["reliable"].to_numpy(dtype=bool))


def _control_marks(controls: Sequence[Point]) -> tuple[Mark, ...]:
    """One mark for each control; labels of controls with one name add their clean data."""
    names = [control.name for control in controls]
    symbols = dict(zip(dict.fromkeys(names), itertools.cycle(CONTROL_SYMBOLS), strict=False))
    marks = []
    for control in controls:
        share = setting("clean_fraction", control.params.get("clean_fraction"))
        label = control_label(control.name) + (f", {share}" if names.count(control.name) > 1 else "")
        marks.append(_mark(label, symbols[control.name], control))
    return tuple(marks)


def _mark(label: str, symbol: str, point: Point) -> Mark:
    number = {} if point.number is None else {"setting": str(point.number)}
    return Mark(label, symbol, point.scores, point_hover(label, point.scores, number | readable_params(point.params)))


def _acc_range(acc: Sequence[float], victim_acc: float, least_acc: float) -> tuple[float, float]:
    """Ends of the vertical axis: all points, unless a deep minority would flatten the rest."""
    drawn = np.array([*acc, victim_acc, least_acc])
    floor = min(victim_acc - SPAN_TO_SCALE, 2 * least_acc - victim_acc)
    low = max(drawn.min(), floor) if np.median(drawn) >= floor else drawn.min()
    margin = 0.06 * max(drawn.max() - low, 0.01)
    return float(low - margin), float(drawn.max() + margin)


def _most_asr(asr: Sequence[float]) -> float:
    """End of the horizontal axis: 1, unless most points are so close to 0 as to look like one."""
    near = 2 * float(np.quantile(asr, 0.75)) if len(asr) else 1.0
    drawn = [each for each in asr if each <= max(near, LEAST_ASR_SPAN)]
    most = max(math.ceil(125 * max(drawn, default=1.0)) / 100, LEAST_ASR_SPAN)  # a whole percent
    return most if most <= SPAN_TO_SCALE else 1.0


def drawn_acc(acc: Floats, acc_range: tuple[float, float]) -> Floats:
    """Accuracies as drawn: those under the axis just above its lower edge.  acc: any shape, as is the result."""
    low, high = acc_range
    return np.where(acc < low, low + 0.02 * (high - low), acc)


def tick_step(ends: tuple[float, float]) -> float:
    """Percents from one tick of an axis to the next.  ends: of the axis, in percent."""
    return next(step for step in TICK_STEPS if ends[1] - ends[0] <= MOST_TICKS * step)


def edge_symbols(group: TrialGroup, info: FrontierInfo) -> Any:
    """Plotly's symbol for each trial of a group: triangles at the edges, else circles."""
    symbols = np.where(group.acc < info.acc_range[0], "triangle-down", "circle")
    symbols = np.where(group.asr > info.most_asr, "triangle-right", symbols)
    return np.where(group.reliable, symbols, np.strings.add(symbols, "-open"))


def limit_text(info: FrontierInfo) -> str:
    """Label of the dashed line."""
    return f"least accuracy allowed: {percent(info.least_acc)}"

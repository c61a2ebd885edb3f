"""`python -m benchmarks.results_figure`: the effect of distillation in each study, as docs/distillation.svg.

Needs a Chromium and the extra `images`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.results import ROOT, all_results
from benchmarks.results_page import of_one_share
from benchmarks.results_tables import CODE, LABELS, PAPER, RECOMMENDED, title
from reports.figures.drawing import layout
from reports.figures.images import draw
from reports.figures.palette import LIGHT, LIGHT_SERIES
from reports.files import ReportError, write_bytes

FIGURE = ROOT / "docs" / "distillation.svg"
LIMIT = 20.0
"""Points at which both axes end. Longer intervals are cut; a mean beyond is a triangle at the edge with its value."""
SYMBOLS = {PAPER: "circle", CODE: "square", RECOMMENDED: "diamond"}
STYLES = {name: (symbol, LIGHT_SERIES[place]) for place, (name, symbol) in enumerate(SYMBOLS.items())}
STEP = 0.26
"""Distance of two settings of a study, in rows."""


class Effect(NamedTuple):
    """Mean difference from the twin on test images, in points, with its 95% interval."""

    study: str
    setting: str
    score: str
    mean: float
    low: float
    high: float


def effects(results: Iterable[Mapping[str, Any]]) -> tuple[Effect, ...]:
    """Return the effects of all settings with at least two pairs."""
    return tuple(
        Effect(title(result), row["name"], score, *(100 * value for value in (twin[f"{score}_added"], *interval)))
        for result in results
        for row in result["rows"]
        if row["name"] in STYLES and (twin := row["twin"])
        for score in ("asr", "acc")
        if (interval := twin[f"{score}_added_ci"])
    )


def effects_figure(found: Sequence[Effect]) -> go.Figure:
    """Draw ASR on the left and ACC on the right, one row per study."""
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    figure.update_layout(layout())
    rows = {study: row for row, study in enumerate(dict.fromkeys(effect.study for effect in found))}
    for column, score in enumerate(("asr", "acc"), 1):
        for place, name in enumerate(STYLES):
            chosen = [effect for effect in found if (effect.setting, effect.score) == (name, score)]
            heights = [rows[effect.study] + STEP * (place - 1) for effect in chosen]
            figure.add_trace(_marks(chosen, heights, name, legend=column == 1), 1, column)
            for effect, height in zip(chosen, heights, strict=True):
                if abs(effect.mean) > LIMIT:
                    figure.add_annotation(_value(effect.mean, height), row=1, col=column)
        figure.add_vline(0, line={"color": LIGHT.ink, "width": 1}, row=1, col=column)
    figure.update_xaxes(range=[-LIMIT, LIMIT], zeroline=False, gridcolor=LIGHT.line, tickfont={"color": LIGHT.muted})
    figure.update_xaxes(title="ASR added, in points (lower is better)", row=1, col=1)
    figure.update_xaxes(title="ACC added, in points (higher is better)", row=1, col=2)
    ticks = {"tickvals": list(rows.values()), "ticktext": list(rows)}
    figure.update_yaxes(**ticks, range=[len(rows) - 0.5, -0.5], showgrid=False, zeroline=False, automargin=True)
    return figure


def _marks(chosen: Sequence[Effect], heights: Sequence[float], name: str, *, legend: bool) -> go.Scatter:
    symbol, colour = STYLES[name]
    shown = [_within(effect.mean) for effect in chosen]
    beyond = [mean != effect.mean for mean, effect in zip(shown, chosen, strict=True)]
    sides = ["triangle-right" if mean > 0 else "triangle-left" for mean in shown]
    return go.Scatter(
        x=shown,
        y=heights,
        name=LABELS.get(name, name),
        showlegend=legend,
        mode="markers",
        marker={
            "symbol": [side if far else symbol for side, far in zip(sides, beyond, strict=True)],
            "color": colour,
            "size": 8,
        },
        error_x={
            "array": [_within(effect.high) - mean for effect, mean in zip(chosen, shown, strict=True)],
            "arrayminus": [mean - _within(effect.low) for effect, mean in zip(chosen, shown, strict=True)],
            "thickness": 1.5,
            "width": 0,
            "color": colour,
        },
        cliponaxis=False,
    )


def _value(mean: float, height: float) -> go.layout.Annotation:
    """The number beside a mark at the edge, on paper to stay readable over its interval."""
    inwards = {"xanchor": "right", "xshift": -8} if mean > 0 else {"xanchor": "left", "xshift": 8}
    text = {"text": f"{mean:+.1f}", "font": {"size": 11}, "bgcolor": LIGHT.paper, "borderpad": 1, "showarrow": False}
    return go.layout.Annotation(x=_within(mean), y=height, **text, **inwards)


def _within(points: float) -> float:
    return max(-LIMIT, min(LIMIT, points))


def main() -> None:
    """Draw the figure anew."""
    found = effects(of_one_share(all_results()))
    write_bytes(FIGURE, draw({"distillation": effects_figure(found)}, ("svg",))["distillation", "svg"])


if __name__ == "__main__":
    try:
        main()
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

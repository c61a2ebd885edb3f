from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from reports.figures.frontier import CONTROL_SYMBOLS, FrontierInfo, drawn_acc, frontier_figure, frontier_info
from reports.figures.palette import LIGHT
from reports.figures.static_svg import OUTLINES, still
from reports.page.study_page import render
from reports.study_folder import Study, read_study

Make = Callable[..., Path]
Rows = list[dict[str, Any]]
HOSTILE = "</svg><b>bold</b> & \"quoted\" 'name' <img src=x onerror=alert(1)>"


def _drawing(study: Study) -> ET.Element:
    """The plot's SVG as it stands in the page."""
    (found,) = re.findall(
        r'<div class="still-plot">\s*(<svg>.*?</svg>)\s*<div class="still-x">', render(study), re.DOTALL
    )
    return ET.fromstring(found)


def _points(drawing: ET.Element) -> list[tuple[str, float, float]]:
    """Colour, percents from the left and from the top of each trial: the dots, and the triangles at the lower edge."""
    points = []
    for path in drawing.iter("path"):
        if path.get("stroke-linecap") == "round":
            for x, y in re.findall(r"M(\S+) (\S+?)h0", path.get("d", "")):
                points.append((path.get("style", ""), float(x), float(y)))
    for spot in drawing.iter("svg"):
        (path, *_) = [*spot, ET.Element("path")]
        if path.get("d") == OUTLINES["triangle-down"]:
            at = (float(spot.get(axis, "").rstrip("%")) for axis in "xy")
            points.append((path.get("style", ""), *at))
    return points


def _scores(points: list[tuple[str, float, float]], info: FrontierInfo) -> list[tuple[str, float, float]]:
    """The same as colour, ASR and ACC."""
    low, high = info.acc_range
    return [(colour, 1.04 * x / 100 - 0.02, high - (high - low) * y / 100) for colour, x, y in points]


def test_each_complete_trial_is_drawn_once_in_its_place_and_colour(make_study: Make) -> None:
    def collapse(rows: Rows, _summary: object) -> None:
        for row in rows[6:8]:
            row["acc"] = 0.11

    study = read_study(make_study(count=60, change=collapse))
    info = frontier_info(study)
    assert info.below >= 2
    points = _scores(_points(_drawing(study)), info)
    assert len(points) == len(study.complete)
    for group in info.groups:
        deep = group.acc < info.acc_range[0]
        order = np.argsort(deep, kind="stable")  # the triangles come after the dots
        expected = np.column_stack((group.asr, drawn_acc(group.acc, info.acc_range)))[order]
        colour = f"color:var(--ramp-{LIGHT.ramp.index(group.colour)})"
        np.testing.assert_allclose([at for of, *at in points if of == colour], expected, atol=1e-4)


def test_the_front_and_the_limit_run_where_the_study_has_them(make_study: Make) -> None:
    study = read_study(make_study())
    info = frontier_info(study)
    paths = [path.get("d", "") for path in _drawing(study).iter("path")]
    (front,) = [path for path in paths if path.count("L") == len(info.line) - 1 and "h0" not in path]
    vertices = [("", float(x), float(y)) for x, y in re.findall(r"[ML](\S+?) (-?[\d.]+)", front)]
    np.testing.assert_allclose([at for _, *at in _scores(vertices, info)], info.line, atol=2e-4)
    (height,) = [float(found[1]) for path in paths if (found := re.fullmatch(r"M0 (\S+)H100", path))]
    assert _scores([("", 0, height)], info)[0][2] == pytest.approx(info.least_acc, abs=1e-4)


def test_marks_have_their_names_and_the_legend_has_all_groups(make_study: Make, confirm: Any) -> None:
    info = frontier_info(read_study(make_study(change=confirm)))
    assert info.recommended is not None
    picture = still(frontier_figure(info))
    marks = [info.victim, *info.controls, *([info.knee] if info.knee else []), info.recommended]
    names = [name.text for name in picture.names]
    assert sorted(names) == sorted([*(mark.label for mark in marks), "least accuracy allowed: 75.2%"])
    assert [name.text for name in picture.names if name.bold] == ["recommended"]
    wide = [entry.text for entry in picture.legend if not entry.only_narrow]
    assert wide == [*(group.label for group in info.groups), "on the test images", "front"]
    assert {entry.text for entry in picture.legend if entry.only_narrow} == {mark.label for mark in marks}


def test_names_are_shown_as_text(make_study: Make) -> None:
    def change(_rows: Rows, summary: dict[str, Any]) -> None:
        summary["controls"][1]["name"] = HOSTILE

    plain, hostile = (_drawing(read_study(make_study(change=some))) for some in (None, change))
    assert any((text.text or "").startswith('</svg><b>bold</b> & "quoted"') for text in hostile.iter("text"))
    assert {element.tag for element in hostile.iter()} == {element.tag for element in plain.iter()}


def test_every_symbol_of_a_control_can_be_drawn() -> None:
    assert {symbol.removesuffix("-open") for symbol in CONTROL_SYMBOLS} <= set(OUTLINES)


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (52.0, 83.0, ["55%", "60%", "65%", "70%", "75%", "80%"]),
        (70.1, 71.3, ["70.2%", "70.4%", "70.6%", "70.8%", "71%", "71.2%"]),
        (-2.0, 98.0, ["0%", "20%", "40%", "60%", "80%"]),
    ],
)
def test_ticks_are_round_and_within_the_axis(low: float, high: float, texts: list[str]) -> None:
    figure = go.Figure(layout={"yaxis": {"range": [low, high], "ticksuffix": "%", "title": {"text": "y"}}})
    figure.update_xaxes(range=[0, 1], title_text="x")
    figure.update_layout(legend_title_text="legend")
    ticks = still(figure).y_ticks
    assert [tick.text for tick in ticks] == texts
    for tick in ticks:
        assert high - float(tick.at) / 100 * (high - low) == pytest.approx(float(tick.text.rstrip("%")), abs=0.01)


def test_what_lies_beyond_the_axes_is_left_out(make_study: Make, confirm: Any) -> None:
    def change(rows: Rows, summary: dict[str, Any]) -> None:
        confirm(rows, summary)
        summary["recommended"]["test"]["acc_ci"] = [0.05, 0.999]

    study = read_study(make_study(change=change))
    for spot in _drawing(study).iter("svg"):
        if spot.get("class") == "spot":
            assert all(0 <= float(spot.get(axis, "").rstrip("%")) <= 100 for axis in "xy")


def test_a_study_without_a_complete_trial_has_a_picture_of_its_victim(make_study: Make) -> None:
    def change(rows: Rows, summary: dict[str, Any]) -> None:
        summary.update(controls=[], recommended=None)
        for row in rows:
            row.update(state="RUNNING", asr="", acc="")

    study = read_study(make_study(change=change))
    drawing = _drawing(study)
    assert _points(drawing) == []
    assert [text.text for text in drawing.iter("text")][-1] == "no defence"


def test_a_trial_takes_few_bytes(make_study: Make) -> None:
    few, many = (ET.tostring(_drawing(read_study(make_study(count=count, name=str(count))))) for count in (100, 400))
    assert (len(many) - len(few)) / 300 < 60

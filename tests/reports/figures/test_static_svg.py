from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.figures.frontier_info import CONTROL_SYMBOLS, FrontierInfo, drawn_acc, frontier_info
from reports.figures.palette import LIGHT
from reports.figures.static_svg import GLYPHS, static_svg
from reports.page.study_page import render
from reports.study_folder import Study, read_study

Make = Callable[..., Path]
Rows = list[dict[str, Any]]
HOSTILE = "</svg><b>bold</b> & \"quoted\" 'name' <img src=x onerror=alert(1)>"


def _picture(study: Study) -> ET.Element:
    """The picture as it stands in the page."""
    (found,) = re.findall(r'(<div class="static" .*?</svg>\s*</div>)', render(study), re.DOTALL)
    return ET.fromstring(found)


def _scores(x: Any, y: Any, info: FrontierInfo) -> Any:
    """ASR and ACC of percents from the left and from the top."""
    low, high = info.acc_range
    return np.column_stack((info.most_asr * (1.04 * np.array(x) / 100 - 0.02), high - (high - low) * np.array(y) / 100))


def _group(picture: ET.Element, colour: str) -> list[tuple[float, float]]:
    """Percents from the left and the top of a colour's trials, dots and triangles."""
    (group,) = [each for each in picture.iter("g") if each.get("style") == f"color:{colour}"]
    places = [(each.get("cx") or each.get("x", ""), each.get("cy") or each.get("y", "")) for each in group]
    return [(float(x.rstrip("%")), float(y.rstrip("%"))) for x, y in places]


def test_each_complete_trial_is_drawn_once_in_its_place_and_colour(make_study: Make) -> None:
    def collapse(rows: Rows, _summary: object) -> None:
        for row in rows[6:8]:
            row["acc"] = 0.11

    study = read_study(make_study(count=60, change=collapse))
    info = frontier_info(study)
    assert info.below >= 2
    picture = _picture(study)
    for group in info.groups:
        drawn = _group(picture, f"var(--ramp-{LIGHT.ramp.index(group.colour)})")
        expected = np.column_stack((group.asr, drawn_acc(group.acc, info.acc_range)))
        np.testing.assert_allclose(_scores(*zip(*drawn, strict=True), info), expected, atol=1e-4)
    assert len([text for text in picture.iter("text") if text.text == "▼"]) == info.below


def test_the_front_and_the_limit_run_where_the_study_has_them(make_study: Make) -> None:
    study = read_study(make_study())
    info = frontier_info(study)
    (front,) = _picture(study).iter("polyline")
    x, y = zip(*(map(float, vertex.split(",")) for vertex in front.get("points", "").split()), strict=True)
    np.testing.assert_allclose(_scores(x, y, info), info.line, atol=2e-4)
    assert _scores([0], [static_svg(info).limit.at], info)[0][1] == pytest.approx(info.least_acc, abs=1e-4)


def test_the_legend_has_all_groups_and_marks(make_study: Make, confirm: Any) -> None:
    study = read_study(make_study(change=confirm))
    info = frontier_info(study)
    (legend,) = [each for each in _picture(study).iter("div") if each.get("class") == "static-legend"]
    entries = ["".join(entry.itertext()).split(maxsplit=1) for entry in legend]
    names = [group.label for group in info.groups] + [mark.label for mark in info.marks]
    assert [name for _, name in entries[1:]] == [*names, "on the test images", "front"]


def test_names_are_shown_as_text(make_study: Make) -> None:
    def change(_rows: Rows, summary: dict[str, Any]) -> None:
        summary["controls"][1]["name"] = HOSTILE

    plain, hostile = (_picture(read_study(make_study(change=some))) for some in (None, change))
    assert any('</svg><b>bold</b> & "quoted"' in text for text in hostile.itertext())
    assert {element.tag for element in hostile.iter()} == {element.tag for element in plain.iter()}


def test_every_symbol_of_a_control_can_be_drawn() -> None:
    assert set(CONTROL_SYMBOLS) <= GLYPHS.keys()


def test_ticks_are_where_their_texts_say(make_study: Make) -> None:
    info = frontier_info(read_study(make_study()))
    picture = static_svg(info)
    for ticks, column in ((picture.x_ticks, 0), (picture.y_ticks, 1)):
        places = [tick.at for tick in ticks]
        stated = [float(tick.text.rstrip("%")) / 100 for tick in ticks]
        np.testing.assert_allclose(_scores(places, places, info)[:, column], stated, atol=1e-4)


def test_a_study_without_a_complete_trial_has_a_picture_of_its_victim(make_study: Make) -> None:
    def change(rows: Rows, summary: dict[str, Any]) -> None:
        summary.update(controls=[], recommended=None)
        for row in rows:
            row.update(state="RUNNING", asr="", acc="")

    picture = static_svg(frontier_info(read_study(make_study(change=change))))
    assert picture.trials == ()
    assert [mark.label for mark in picture.marks] == ["no defence"]


def test_a_trial_takes_few_bytes(make_study: Make) -> None:
    few, many = (ET.tostring(_picture(read_study(make_study(count=count, name=str(count))))) for count in (100, 400))
    assert (len(many) - len(few)) / 300 < 60

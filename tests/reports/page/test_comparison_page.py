from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE, Parts, with_hostile_texts

from reports.comparison import read_studies
from reports.page.comparison_page import comparison_figures, comparison_tables, render_comparison
from reports.page.frame import plotly_script
from reports.study_folder import Study

Make = Callable[..., Path]
Change = Callable[[list[dict[str, Any]], dict[str, Any]], None]


def renamed(name: str, also: Change | None = None, **facts: Any) -> Change:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        if also:
            also(rows, summary)
        summary.update(study=name, **facts)

    return change


@pytest.fixture
def studies(make_study: Make, confirm: Change) -> tuple[Study, ...]:
    """A confirmed study, one of another attack that recommends nothing, and one whose every name is hostile."""
    nothing = renamed("second", attack="badnets", recommended=None, recommended_why="No trial keeps enough.")
    return read_studies(
        [
            make_study(name="a", change=renamed("first", confirm)),
            make_study(name="b", seed=6, change=nothing),
            make_study(name="c", seed=7, change=with_hostile_texts),
        ]
    )


def test_only_the_hashed_scripts_may_run_and_nothing_outside_is_referred_to(studies: tuple[Study, ...]) -> None:
    page = render_comparison(studies)
    parts = Parts(page)
    policy = next(meta["content"] for meta in parts.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    hashes = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in parts.scripts[1:]}
    assert set(re.findall(r"sha256-([^']+)", policy)) == hashes
    assert not re.search(r"https?://|@import|url\(", page.replace(plotly_script(), ""))
    assert page.count(plotly_script()) == 1


def test_hostile_names_are_shown_as_text(studies: tuple[Study, ...]) -> None:
    parts = Parts(render_comparison(studies))
    assert len(parts.all("script")) == 3
    assert parts.all("img") == []
    assert not [name for _, attributes in parts.elements for name in attributes if name.startswith("on")]
    assert sum(HOSTILE in text for text in parts.text) > 15


def test_the_same_studies_give_the_same_page(studies: tuple[Study, ...]) -> None:
    assert render_comparison(studies) == render_comparison(studies)


def test_each_figure_has_its_place_and_each_place_its_figure(studies: tuple[Study, ...]) -> None:
    parts = Parts(render_comparison(studies))
    places = [attributes["id"] for _, attributes in parts.elements if "plot" in (attributes.get("class") or "").split()]
    assert places == [f"plot-{name}" for name in comparison_figures(studies)]
    assert len([place for place in places if "panel" in str(place)]) == 3


def test_each_button_has_its_table_with_the_numbers_of_the_figure(studies: tuple[Study, ...]) -> None:
    tables = comparison_tables(studies)
    assert re.findall(r'data-table="([^"]+)"', render_comparison(studies)) == list(tables)
    fronts = tables["fronts"]
    assert len(fronts["setting"]) == sum(len(study.complete) for study in studies)
    rows = list(zip(fronts["study"], fronts["asr"], fronts["acc"], fronts["on the front"], strict=True))
    scores = [(name, asr, acc) for name, asr, acc, _ in rows]

    def beaten(name: str, asr: float, acc: float) -> bool:
        return any(n == name and a <= asr and c >= acc and (a, c) != (asr, acc) for n, a, c in scores)

    assert {row[:3] for row in rows if row[3]} == {row for row in scores if not beaten(*row)}
    assert tables["hypervolumes"]["settings"] == [len(study.complete) for study in studies]
    last = dict(zip(tables["growth"]["study"], tables["growth"]["hypervolume"], strict=True))
    assert list(last.values()) == pytest.approx(tables["hypervolumes"]["search"], abs=1e-5)


def test_studies_of_one_attack_and_data_set_need_no_panels(make_study: Make) -> None:
    pair = read_studies([make_study(name=name, change=renamed(name)) for name in ("x", "y")])
    assert list(comparison_figures(pair)) == ["fronts", "hypervolumes", "growth"]


def test_tables_have_captions_scoped_heads_and_a_column_for_each_study(studies: tuple[Study, ...]) -> None:
    page = render_comparison(studies)
    parts = Parts(page)
    assert len(parts.all("table")) == len(parts.all("caption")) == 5
    assert {head.get("scope") for head in parts.all("th")} == {"col", "row"}
    for table in re.findall(r'<table class="beside".*?</table>', page, flags=re.DOTALL):
        for row in re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL):
            assert len(re.findall(r"<t[hd][ >]", row)) == 1 + len(studies)


def test_every_link_within_the_page_has_its_target(studies: tuple[Study, ...]) -> None:
    parts = Parts(render_comparison(studies))
    ids = [attributes["id"] for _, attributes in parts.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(link["href"])[1:] for link in parts.all("a")} <= set(ids)
    assert {a["aria-labelledby"] for _, a in parts.elements if "aria-labelledby" in a} <= set(ids)


def test_scores_say_which_images_they_are_from(studies: tuple[Study, ...]) -> None:
    text = " ".join(Parts(render_comparison(studies)).text)
    assert text.count("Attack success rate, test images") == 1
    assert text.count("Attack success rate, validation images") == 1
    test = studies[0].recommended.test if studies[0].recommended else None
    assert test is not None
    assert f"{100 * test.asr:.1f}%" in text


def test_a_study_without_a_complete_trial_is_on_the_page(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary.update(study="nothing", recommended=None, recommended_why="None yet.", controls=[])
        for row in rows:
            row.update(state="RUNNING", asr="", acc="", seconds="", compute_seconds="", error="")

    folders = [make_study(name="a", change=change), make_study(name="b")]
    text = " ".join(Parts(render_comparison(read_studies(folders, also_unfinished=True))).text)
    assert "No setting is complete yet" in text
    assert "0.0000" in text


def test_many_studies_are_still_told_apart(make_study: Make) -> None:
    pairs = read_studies([make_study(name=f"s{i}", change=renamed(f"s{i}"), seed=i) for i in range(7)])
    fronts = comparison_figures(pairs)["fronts"]
    looks = {(t.marker.color, t.marker.symbol, t.line.dash) for t in fronts.data if t.showlegend}
    assert len(looks) == 7

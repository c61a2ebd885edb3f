from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from hostile import HOSTILE, Parts, with_hostile_texts
from plotly.offline import get_plotlyjs

from reports.figures import figure_sections
from reports.files import ReportError
from reports.page.frame import figure_data, plotly_script
from reports.page.study_page import render
from reports.study_folder import read_study

Make = Callable[..., Path]
Change = Callable[[list[dict[str, Any]], dict[str, Any]], None]


@pytest.fixture(scope="module")
def plotly() -> str:
    return plotly_script()


def test_plotlys_script_is_in_parentheses_and_else_as_it_came(plotly: str) -> None:
    before, opening, after = plotly.partition("this, (() => {\n")
    assert opening
    assert f"{before}this, () => {{\n{after}".replace("})));", "}));") == get_plotlyjs().replace("})));", "}));")


def test_plotly_is_embedded_once_and_only_the_hashed_scripts_may_run(make_study: Make, plotly: str) -> None:
    page = render(read_study(make_study()))
    assert page.count(plotly) == 1
    parts = Parts(page)
    assert [script.get("type") for script in parts.all("script")] == ["text/plain", None, None]
    policy = next(meta["content"] for meta in parts.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    hashes = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in parts.scripts[1:]}
    assert policy is not None
    assert set(re.findall(r"sha256-([^']+)", policy)) == hashes
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy
    assert "http" not in policy.replace("http-equiv", "")


def test_the_policy_comes_before_anything_it_governs(make_study: Make) -> None:
    names = [tag for tag, _ in Parts(render(read_study(make_study()))).elements]
    assert names[:5] == ["html", "head", "meta", "meta", "meta"]
    assert names.index("style") > 4


def test_nothing_outside_the_file_is_referred_to(make_study: Make, plotly: str) -> None:
    page = render(read_study(make_study(change=with_hostile_texts)))
    for tag, attributes in Parts(page).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,")), (tag, name, value)
    assert not re.search(r"https?://|@import|url\(", page.replace(plotly, ""))


def test_hostile_names_are_shown_as_text(make_study: Make) -> None:
    plain, hostile = (Parts(render(read_study(make_study(change=change)))) for change in (None, with_hostile_texts))
    assert len(hostile.all("script")) == len(plain.all("script")) == 3
    assert len(hostile.all("img")) == 1
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]
    assert HOSTILE in hostile.text
    assert sum(HOSTILE in text for text in hostile.text) > 50


def test_rows_of_all_tables_have_a_cell_for_each_head(make_study: Make, confirm: Change, repeat: Change) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        confirm(rows, summary)
        repeat(rows, summary)
        for row in rows:
            row["balanced_acc"] = row["acc"]
        summary["victim"]["balanced_acc"] = summary["victim"]["acc"]
        summary["guess"] = {"acc": 0.9, "balanced_acc": 0.2}

    tables = re.findall(r"<table.*?</table>", render(read_study(make_study(change=change))), re.DOTALL)
    assert len(tables) == 4
    for table in tables:
        head, *rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
        assert {len(re.findall(r"<t[hd]\b", row)) for row in rows} == {len(re.findall(r"<th\b", head))}


def test_figure_data_cannot_end_its_script_element_and_holds_each_text_and_column_once() -> None:
    trace = {"type": "scatter", "hovertext": [HOSTILE, "plain", HOSTILE]}
    drawing = go.Figure([trace], layout={"title": {"text": HOSTILE}, "template": "none"})
    text = figure_data({"a": drawing, "b": drawing}, {"a": {HOSTILE: [1, 2], "y": [3, 4]}, "b": {"x": [1, 2]}})
    assert re.fullmatch("[A-Za-z0-9+/=]+", text)
    content = json.loads(gzip.decompress(base64.b64decode(text)))
    assert content["figures"]["a"]["layout"]["title"]["text"] == HOSTILE
    assert content["texts"] == [HOSTILE, "plain"]
    assert content["figures"]["b"]["data"][0]["hovertext"] == [0, 1, 0]
    assert content["columns"] == [[1, 2], [3, 4]]
    assert content["tables"] == {"a": {HOSTILE: 0, "y": 1}, "b": {"x": 0}}


def test_every_figure_says_what_to_see_and_has_a_button_for_its_data(make_study: Make) -> None:
    study = read_study(make_study())
    parts = Parts(render(study))
    text, shown = " ".join(parts.text), figure_sections(study)
    for one in shown.values():
        assert one.title in text
        assert one.sentence in text
    drawn = [name for name, one in shown.items() if one.panels]
    assert [button["data-table"] for button in parts.all("button") if button.get("class") == "csv"] == drawn
    plots = [div for div in parts.all("div") if div.get("class") == "plot"]
    assert len(plots) == sum(len(one.panels) for one in shown.values())
    assert all(plot["aria-label"] for plot in plots)


def test_attention_maps_have_a_section_where_the_study_drew_them(make_study: Make) -> None:
    folder = make_study()
    shutil.copy(folder / "attack.png", folder / "attention.png")
    parts = Parts(render(read_study(folder)))
    assert "attention" in [section["id"] for section in parts.all("section")]
    assert "#attention" in [link["href"] for link in parts.all("a")]
    assert "teacher" in str(parts.all("img")[1]["alt"])


def test_seeds_and_hashes_are_on_the_page(make_study: Make) -> None:
    folder = make_study()
    (folder / "config.json").write_text(json.dumps({"identity": {"images": "1fbbb6fe"}}))
    text = " ".join(Parts(render(read_study(folder))).text)
    assert "9b74c9897bac770ffc029102a200c5de3f1b1d2f6c6a2c3b6e9e8d7c6b5a4f30" in text
    assert "1fbbb6fe" in text
    assert "one each, in trials.csv" in text


def test_sections_come_in_the_order_of_a_readers_questions(make_study: Make) -> None:
    sections = [section["id"] for section in Parts(render(read_study(make_study()))).all("section")]
    assert sections == [
        "answer",
        "frontier-section",
        "settings",
        "attack",
        "matters",
        "search",
        "trials",
        "failures",
        "reproduce",
    ]


def test_every_table_has_a_caption_and_scoped_heads(make_study: Make) -> None:
    parts = Parts(render(read_study(make_study())))
    assert len(parts.all("table")) == len(parts.all("caption")) == 4
    assert {head.get("scope") for head in parts.all("th")} == {"col", "row"}


def test_every_link_within_the_page_has_its_target(make_study: Make) -> None:
    parts = Parts(render(read_study(make_study())))
    ids = [attributes["id"] for _, attributes in parts.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(link["href"])[1:] for link in parts.all("a")} <= set(ids)
    labelled = {attributes["aria-labelledby"] for _, attributes in parts.elements if "aria-labelledby" in attributes}
    assert labelled <= set(ids)


@pytest.mark.parametrize(("energy", "words"), [(0.01234, "0.0123 kWh, processors only"), (None, "not known")])
def test_energy_is_told_where_it_is_known(make_study: Make, energy: float | None, words: str) -> None:
    def change(_rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary["energy_kwh"] = energy

    text = Parts(render(read_study(make_study(change=change)))).text
    assert words in text[text.index("energy") :]


def test_the_picture_has_its_size_and_a_text_for_those_who_do_not_see_it(make_study: Make) -> None:
    (image,) = Parts(render(read_study(make_study()))).all("img")
    assert (image["width"], image["height"]) == ("768", "288")
    assert "residual" in str(image["alt"])


def test_a_study_without_picture_failures_or_front_has_a_page(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary.update(recommended=None, recommended_why="None yet.", controls=[])
        for row in rows:
            row.update(state="RUNNING", asr="", acc="", seconds="", compute_seconds="", error="")

    folder = make_study(change=change)
    (folder / "attack.png").unlink()
    text = " ".join(Parts(render(read_study(folder))).text)
    assert "This study is unfinished: 0 of 22 wanted trials are complete, 24 running." in text
    assert "No setting is complete yet" in text
    assert "No trial failed." in text
    assert "clean accuracy within" not in text


def test_pruned_trials_are_told_from_failed_ones(make_study: Make, prune: Change) -> None:
    text = " ".join(" ".join(Parts(render(read_study(make_study(change=prune)))).text).split())
    assert "2 of 24 trials failed." in text
    assert "2 of 24 trials were pruned: stopped early for poor scores" in text
    assert "Trial 6 after 3 of 9 epochs it ranked 8 of 9, and the best 5 go on" in text
    assert "were pruned" not in " ".join(Parts(render(read_study(make_study(name="whole")))).text)


def test_a_finished_study_has_no_warning(make_study: Make) -> None:
    assert "unfinished" not in " ".join(Parts(render(read_study(make_study()))).text)


def test_test_scores_have_columns_of_their_own_where_there_are_some(make_study: Make, confirm: Change) -> None:
    plain = " ".join(Parts(render(read_study(make_study()))).text)
    assert "test ASR" not in plain
    text = " ".join(Parts(render(read_study(make_study(change=confirm, name="confirmed")))).text)
    assert "test ASR" in text
    assert "over 3 fresh seeds" in text
    assert "from 93.4% to 11.9% (95% interval" in text


@pytest.mark.parametrize(
    ("where", "value", "sentence"),
    [
        ("asr_ci", [0.2], "has no two bounds at 'controls[1].test.asr_ci'"),
        ("asr_ci", [0.2, "high"], "has 'high' at 'controls[1].test.asr_ci[1]'"),
        ("acc", 1.5, "has 1.5 at 'controls[1].test.acc'"),
        ("seeds", None, "has 'None' at 'controls[1].test.seeds'"),
    ],
)
def test_a_test_score_that_cannot_be_is_named(
    make_study: Make, confirm: Change, where: str, value: Any, sentence: str
) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        confirm(rows, summary)
        summary["controls"][1]["test"][where] = value

    with pytest.raises(ReportError, match=re.escape(sentence)):
        read_study(make_study(change=change))


def test_a_test_score_that_is_cut_off_is_named(make_study: Make, confirm: Change) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        confirm(rows, summary)
        del summary["controls"][1]["test"]["asr_ci"]

    with pytest.raises(ReportError, match=r"has no 'controls\[1\].test.asr_ci'"):
        read_study(make_study(change=change))

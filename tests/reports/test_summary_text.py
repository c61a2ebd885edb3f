from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE, with_hostile_texts
from markdown_it import MarkdownIt
from markdown_it.token import Token

from reports.analysis.frontier import front_order
from reports.answer import answer
from reports.study_folder import read_study
from reports.summary_text import summary_text
from reports.trial_table import trial_costs

Make = Callable[..., Path]
Change = Callable[[list[dict[str, Any]], dict[str, Any]], None]


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def inline(token: Token) -> str:
    return "".join(child.content for child in token.children or [])


def tables(text: str) -> list[list[list[str]]]:
    """Each table as rows of cells."""
    found: list[list[list[str]]] = []
    for token in parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and token.level > 3 and found:
            found[-1][-1].append(inline(token))
    return found


def test_it_says_the_answer_the_controls_the_front_and_how_to_repeat_it(make_study: Make, confirm: Change) -> None:
    study = read_study(make_study(change=confirm))
    text = summary_text(study)
    found = answer(study)
    paragraphs = [inline(token) for token in parse(text) if token.type == "inline"]
    assert {found.headline, *found.reasons} <= set(paragraphs)
    setting, controls, front = tables(text)
    assert [tuple(row) for row in setting[1:]] == list(found.params.items())
    assert [row[0] for row in controls[1:]] == [rival.label for rival in found.rivals]
    order = front_order(trial_costs(study.complete))
    assert [row[0].split(" ")[0] for row in front[1:]] == [str(n) for n in study.complete["number"].iloc[order]]
    (command,) = [token.content for token in parse(text) if token.type == "fence"]
    assert command == study.summary.command + "\n"


def test_test_scores_have_their_intervals_and_others_have_none(make_study: Make, confirm: Change) -> None:
    study = read_study(make_study(change=confirm))
    _setting, controls, front = tables(summary_text(study))
    assert controls[2][-2:] == ["74.1% (68.1% to 85.1%)", "76.0% (74.8% to 76.4%)"]
    tested = {row[0].split(" ")[0] for row in front[1:] if row[-2] != "–"}
    assert tested == {row[0].split(" ")[0] for row in front[1:]} & {str(number) for number in study.confirmed}
    plain = tables(summary_text(read_study(make_study(name="plain"))))
    assert {tuple(row[-2:]) for row in plain[1][1:]} == {("–", "–")}


def test_points_of_the_front_have_their_test_scores(make_study: Make) -> None:
    def change(_rows: Any, summary: dict[str, Any]) -> None:
        test = {"asr": 0.125, "acc": 0.5, "asr_ci": [0.0, 0.25], "acc_ci": [0.25, 0.75], "seeds": 3, "diverged": 0}
        best = summary["recommended"]
        summary["front"] = [{**best, "test": {**test, "runs": [{"draw": 1, "asr": 0.125, "acc": 0.5}]}}]

    study = read_study(make_study(change=change))
    rows = [row for row in tables(summary_text(study))[2] if row[-2] != "–"][1:]
    assert [row[-3:-1] for row in rows] == [["12.5% (0.0% to 25.0%)", "50.0% (25.0% to 75.0%)"]]


def test_hostile_names_are_text(make_study: Make) -> None:
    text = summary_text(read_study(make_study(change=with_hostile_texts)))
    kinds = {token.type for token in parse(text)} | {c.type for t in parse(text) for c in t.children or []}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "code_inline", "blockquote_open"}
    shown = HOSTILE.replace("\u202e", "\ufffd")
    assert sum(shown in inline(token) for token in parse(text) if token.type == "inline") > 10
    assert "\u202e" not in text


def test_the_machines_name_is_left_out(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary["host"] = "my-private-host"
        for row in rows:
            row["host"] = "my-private-host"

    assert "my-private-host" not in summary_text(read_study(make_study(change=change)))


@pytest.mark.parametrize("state", ["RUNNING", "FAIL"])
def test_a_study_without_a_complete_trial_has_a_summary(make_study: Make, state: str) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary.update(recommended=None, recommended_why="None yet.", controls=[])
        for row in rows:
            row.update(state=state, asr="", acc="")

    text = summary_text(read_study(make_study(change=change)))
    assert "**This study is unfinished: 0 of 22" in text
    assert "## The front" not in text

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.analysis.frontier import hypervolume
from reports.answer import answer
from reports.comparison import (
    caveats,
    control_rows,
    facts_rows,
    families,
    fresh_volume,
    headline,
    read_studies,
    settings_rows,
    volumes,
)
from reports.files import ReportError
from reports.study_folder import Study, read_study
from reports.trial_table import trial_costs

Make = Callable[..., Path]
Change = Callable[[list[dict[str, Any]], dict[str, Any]], None]


def named(name: str, also: Change | None = None, **facts: Any) -> Change:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        if also:
            also(rows, summary)
        summary.update(study=name, **facts)

    return change


def with_runs(confirm: Change, scores: dict[int, list[tuple[float, float]]]) -> Change:
    """A confirmed study whose trials of these numbers have these scores in draws 1, 2, ...; others have none."""

    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        confirm(rows, summary)
        for point in [*summary["controls"], summary["recommended"]]:
            runs = scores.get(point["number"], [])
            listed = [{"draw": draw, "asr": asr, "acc": acc} for draw, (asr, acc) in enumerate(runs, start=1)]
            point["test"] = {**point["test"], "seeds": len(runs), "runs": listed} if runs else None

    return change


@pytest.fixture
def pair(make_study: Make, confirm: Change) -> list[Path]:
    """Two finished studies: one confirmed, one of another attack and seed."""
    return [
        make_study(name="a", change=named("first", confirm)),
        make_study(name="b", seed=8, change=named("second", attack="badnets", seed=1, victim_sha256="f" * 64)),
    ]


def test_studies_are_read_in_the_given_order(pair: list[Path]) -> None:
    assert [study.name for study in read_studies(pair)] == ["first", "second"]
    assert [study.name for study in read_studies(pair[::-1])] == ["second", "first"]


def test_two_studies_of_one_name_are_refused(make_study: Make) -> None:
    folders = [make_study(name="a"), make_study(name="b")]
    with pytest.raises(ReportError, match=r"two of these studies are called 'refool-fashion-c' \('.*a' and '.*b'\)"):
        read_studies(folders)
    with pytest.raises(ReportError, match="two of these studies"):
        read_studies([folders[0], folders[0]])


def test_an_unfinished_study_is_compared_only_on_request(make_study: Make) -> None:
    folders = [
        make_study(name="a", change=named("done")),
        make_study(name="b", change=named("short", wanted_trials=40)),
    ]
    with pytest.raises(ReportError, match=r"b' is not finished \(22 of 40 wanted trials are complete\)"):
        read_studies(folders)
    assert len(read_studies(folders, also_unfinished=True)) == 2


def test_families_are_studies_of_one_attack_on_one_data_set(pair: list[Path], make_study: Make) -> None:
    third = make_study(name="c", change=named("third"))
    studies = read_studies([*pair, third])
    assert families(studies) == {("refool", "fashion-c"): [0, 2], ("badnets", "fashion-c"): [1]}


def test_hypervolumes_are_of_all_trials_and_of_equally_many(make_study: Make) -> None:
    long, short = read_study(make_study(name="a", count=30)), read_study(make_study(name="b", count=24, seed=8))
    found = volumes([long, short])
    assert [volume.settings for volume in found] == [28, 22]
    assert found[0].search == pytest.approx(hypervolume(trial_costs(long.complete)))
    order = (long.complete["started"] + np.array(long.complete["seconds"], dtype="timedelta64[s]")).argsort()
    finished = long.complete.iloc[order[:22]]
    assert found[0].even == pytest.approx(hypervolume(trial_costs(finished)))
    assert found[1].even == pytest.approx(found[1].search)
    assert [volume.fresh for volume in found] == [None, None]


def test_a_study_without_a_complete_trial_has_no_hypervolume(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary.update(study="nothing", recommended=None, controls=[], wanted_trials=3)
        for row in rows:
            row.update(state="FAIL", asr="", acc="")

    studies = read_studies([make_study(change=change), make_study(name="b")], also_unfinished=True)
    assert next((volume.search, volume.even) for volume in volumes(studies)) == (0.0, 0.0)


def test_fresh_hypervolume_is_the_mean_over_draws_with_students_interval(make_study: Make, confirm: Change) -> None:
    scores = {0: [(0.5, 0.8), (0.6, 0.8), (0.4, 0.8)], 1: [(0.2, 0.4), (0.2, 0.4), (0.2, 0.4)]}
    found = fresh_volume(read_study(make_study(change=with_runs(confirm, scores))))
    assert found is not None
    # in each draw the rectangle of trial 0 and what trial 1 adds to its left
    areas = [(1 - asr) * 0.8 + (asr - 0.2) * 0.4 for asr in (0.5, 0.6, 0.4)]
    assert found.mean == pytest.approx(np.mean(areas))
    assert (found.draws, found.points) == (3, 2)
    half = 4.302653 * np.std(areas, ddof=1) / math.sqrt(3)
    assert found.bounds == pytest.approx((np.mean(areas) - half, np.mean(areas) + half))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, None),
        ({0: [(0.5, 0.8)]}, (0.4, None, 1, 1)),
        ({0: [(0.5, 0.8), (0.5, 0.8)]}, (0.4, None, 2, 1)),
        ({0: [(0.5, 0.8), (0.5, 0.8)], 1: [(0.0, 1.0)]}, (0.4, None, 2, 1)),
    ],
    ids=["not confirmed", "one draw", "draws that agree", "a point that diverged in a draw"],
)
def test_no_interval_where_nothing_supports_one(
    make_study: Make, confirm: Change, scores: dict[int, Any], expected: Any
) -> None:
    found = fresh_volume(read_study(make_study(change=with_runs(confirm, scores))))
    assert (None if found is None else (pytest.approx(found.mean), *found[1:])) == expected


def test_a_summary_without_single_runs_has_no_fresh_hypervolume_and_says_so(make_study: Make, confirm: Change) -> None:
    def before_they_were_kept(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        confirm(rows, summary)
        for point in [*summary["controls"], summary["recommended"]]:
            del point["test"]["runs"]

    folders = [make_study(name="a", change=before_they_were_kept), make_study(name="b", change=named("second"))]
    studies = read_studies(folders)
    assert studies[0].confirmed
    assert fresh_volume(studies[0]) is None
    assert any("lacks the scores of its single fresh runs" in caveat for caveat in caveats(studies))


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ([-0.2, -0.1], "shown by the twins in 1"),
        ([0.1, 0.2], "the opposite shown by the twins in 1"),
        ([-0.1, 0.1], "not shown by the twins in 1"),
        (None, "not shown by the twins in 1"),
    ],
)
def test_the_headline_counts_what_twins_say(make_study: Make, confirm: Change, bounds: Any, words: str) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        confirm(rows, summary)
        summary["study"] = "twinned"
        summary["recommended"]["twin"] = {**summary["controls"][2]["twin"], "asr_added_ci": bounds}

    def without(_rows: Any, summary: dict[str, Any]) -> None:
        summary.update(study="none", recommended=None)

    def plain(_rows: Any, summary: dict[str, Any]) -> None:
        tuned = next(each for each in summary["controls"] if each["name"] == "fine-tuning")
        summary.update(study="plain", recommended={**summary["recommended"], "params": tuned["params"]})

    made: dict[str, Change | None] = {"a": change, "b": None, "c": without, "d": plain}
    studies = read_studies([make_study(name=name, change=how) for name, how in made.items()])
    others = "fine-tuning itself was recommended in 1; no twins were run in 1; no setting kept enough accuracy in 1"
    assert re.search(rf"Of 4 studies: {words}; {others}\.$", headline(studies))


def test_caveats_name_only_what_is_there(pair: list[Path], make_study: Make) -> None:
    same = read_studies([make_study(name="c", change=named("c")), make_study(name="d", change=named("d"))])
    assert len(list(caveats(same))) == 1
    text = " ".join(caveats(read_studies(pair)))
    assert "different victims" in text
    assert "cover fresh seeds" in text
    assert "different rules" not in text


def test_settings_stand_side_by_side(pair: list[Path]) -> None:
    studies = read_studies(pair)
    answers = [answer(study) for study in studies]
    rows = {row.head: row for row in settings_rows(answers)}
    assert rows.keys() == answers[0].params.keys() | answers[1].params.keys()
    for name, row in rows.items():
        assert row.cells == tuple(found.params.get(name, "–") for found in answers)
        assert row.differs == (row.cells[0] != row.cells[1])


def test_what_differs_comes_first(pair: list[Path]) -> None:
    rows = facts_rows(read_studies(pair))
    differing = [row.head for row in rows if row.differs]
    assert [row.head for row in rows[: len(differing)]] == differing
    assert {"attack", "seed", "victim, SHA-256"} <= set(differing)
    assert "data set" not in differing
    assert next(row for row in rows if row.head == "attack").cells == ("refool", "badnets")


def test_each_study_has_each_control_once_and_gaps_are_gaps(pair: list[Path]) -> None:
    studies: tuple[Study, ...] = read_studies(pair)
    rows = control_rows(studies)
    assert [row.head for row in rows] == [
        *("no defence", "fine-tuning, 10%", "fine-tuning, 20%", "NAD (paper), 5%", "NAD (code), 10%")
    ]
    for index, study in enumerate(studies):
        numbers = {rival.number for row in rows if (rival := row.cells[index])}
        assert numbers == {None} | {control.number for control in study.controls}


def test_a_control_that_ran_twice_has_two_rows(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary["study"] = "twice"
        summary["controls"].append({**summary["controls"][1], "number": 9})

    found = control_rows(read_studies([make_study(change=change), make_study(name="b")]))
    again = [row for row in found if row.head == "fine-tuning, 10%"]
    assert [[rival.number if rival else None for rival in row.cells] for row in again] == [[0, 0], [9, None]]

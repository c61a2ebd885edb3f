from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.analysis.frontier import front_order
from reports.figures.frontier import frontier_figure, frontier_section
from reports.figures.frontier_info import frontier_info, tick_step
from reports.figures.groups import clean_fraction_groups
from reports.figures.palette import LIGHT
from reports.study_folder import Study, read_study
from reports.trial_table import trial_costs

Make = Callable[..., Path]


@pytest.fixture
def study(make_study: Make) -> Study:
    return read_study(make_study())


def _with(make_study: Make, change: Callable[[list[dict[str, Any]], dict[str, Any]], None]) -> Study:
    return read_study(make_study(change=change))


def test_every_complete_trial_is_in_one_group_and_failed_ones_in_none(study: Study) -> None:
    groups = frontier_info(study).groups
    assert sorted(number for group in groups for number in group.numbers) == study.complete["number"].tolist()
    assert [group.label for group in groups] == ["1%", "5%", "10%", "20%"]


def test_a_group_holds_its_own_scores(study: Study) -> None:
    for group in frontier_info(study).groups:
        rows = study.complete.set_index("number").loc[list(group.numbers)]
        np.testing.assert_array_equal(group.asr, rows["asr"])
        np.testing.assert_array_equal(group.acc, rows["acc"])


def test_the_line_steps_through_the_front_from_low_asr_to_high_accuracy(study: Study) -> None:
    info = frontier_info(study)
    front = study.complete.set_index("number").loc[list(info.front)]
    assert (np.diff(front["asr"]) > 0).all()
    assert (np.diff(front["acc"]) > 0).all()
    np.testing.assert_allclose(info.line[1:-1:2], front[["asr", "acc"]])
    np.testing.assert_allclose(info.line[[0, -1]], [[front["asr"].iloc[0], 0], [1, front["acc"].iloc[-1]]])


def test_no_trial_lies_beyond_the_line(study: Study) -> None:
    line = frontier_info(study).line
    for asr, acc in study.complete[["asr", "acc"]].to_numpy():
        assert acc <= line[line[:, 0] <= asr + 1e-12][:, 1].max() + 1e-12


def test_controls_of_one_name_share_a_symbol_and_differ_in_their_label(study: Study) -> None:
    controls = frontier_info(study).controls
    assert [mark.label for mark in controls] == ["fine-tuning, 10%", "NAD (paper)", "NAD (code)", "fine-tuning, 20%"]
    assert controls[0].symbol == controls[3].symbol
    assert len({mark.symbol for mark in controls}) == 3


def test_hover_names_every_hyperparameter_and_the_scores(study: Study) -> None:
    for group in frontier_info(study).groups:
        for text in group.hover:
            for word in ("ASR: ", "ACC: ", "distilled: ", "epochs: ", "clean data: ", "recipe: "):
                assert word in text


def test_hover_shows_markup_as_text(make_study: Make) -> None:
    study = _with(
        make_study, lambda rows, _: rows[0].update({"params_<b>": "<a href='javascript:1'>&amp;</a>" + 99 * "x"})
    )
    hovers = (text for group in frontier_info(study).groups for text in group.hover)
    text = next(text for text in hovers if text.startswith("<b>Setting 0<"))
    assert "&lt;b&gt;: &lt;a href='javascript:1'&gt;&amp;amp;&lt;/a&gt;xxx" in text
    assert text.endswith("x…")


def test_the_axis_shows_every_point_when_none_lies_deep(study: Study) -> None:
    info = frontier_info(study)
    assert info.acc_range[0] < study.complete["acc"].min()
    assert info.acc_range[1] > max(study.complete["acc"].max(), info.victim.scores.acc)
    assert info.below == 0


def test_a_collapsed_trial_is_drawn_at_the_lower_edge_not_hidden(make_study: Make) -> None:
    study = _with(make_study, lambda rows, _: rows[6].update(acc=0.11))
    info = frontier_info(study)
    assert info.below == 1
    assert info.acc_range[0] > 0.4
    figure = frontier_figure(info)
    edge = [
        (y, symbol)
        for trace in figure.data
        if not isinstance(trace.marker.symbol, (str, type(None)))
        for y, symbol in zip(trace.y, trace.marker.symbol, strict=True)
        if symbol == "triangle-down"
    ]
    assert len(edge) == 1
    assert figure.layout.yaxis.range[0] < edge[0][0] < 100 * info.acc_range[0] + 2


def _erased(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """A weak backdoor: all but two trials are left with an ASR under 4%."""
    complete = [row for row in rows if row["asr"] != ""]
    for index, row in enumerate(complete):
        row["asr"] = 0.6 if index in (5, 6) else 0.002 * (index % 18)
    for control in summary["controls"][1:]:
        control["validation"]["asr"] = 0.02


def test_where_most_trials_are_near_zero_the_axis_shows_these_and_names_the_rest(make_study: Make) -> None:
    info = frontier_info(_with(make_study, _erased))
    assert info.most_asr == 0.05
    assert info.beyond == 2
    figure = frontier_figure(info)
    assert figure.layout.xaxis.range == pytest.approx((-0.1, 5.1))
    points = [
        (x, symbol)
        for trace in figure.data
        if not isinstance(trace.marker.symbol, (str, type(None)))
        for x, symbol in zip(trace.x, trace.marker.symbol, strict=True)
    ]
    assert [x for x, symbol in points if symbol == "triangle-right"] == pytest.approx([5.0, 5.0])
    assert max(x for x, symbol in points if symbol == "circle") == pytest.approx(3.4)
    for trace in figure.data:
        if not isinstance(trace.marker.symbol, (str, type(None))):
            assert trace.marker.symbol[0] == "circle", "the legend shows the first"
    marks = {trace.name: trace.x[0] for trace in figure.data if len(trace.x)}
    assert marks["no defence, 93% ASR"] == pytest.approx(5.0)
    assert marks["NAD (paper)"] == pytest.approx(2.0)
    assert "The axis ends at 5% ASR" in frontier_section(_with(make_study, _erased)).note


def test_the_axis_goes_to_the_end_where_trials_are_spread(study: Study) -> None:
    info = frontier_info(study)
    assert (info.most_asr, info.beyond) == (1.0, 0)
    assert frontier_figure(info).layout.xaxis.range == pytest.approx((-2, 102))


def test_when_most_trials_collapsed_the_axis_shows_them_to_scale(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary.update(controls=summary["controls"][:1], recommended=None)
        for row in rows:
            row["acc"] = 0.11 if row["acc"] != "" else ""

    info = frontier_info(_with(make_study, change))
    assert info.below == 0
    assert info.acc_range[0] < 0.11


def test_the_figure_draws_all_that_the_info_holds(study: Study) -> None:
    info = frontier_info(study)
    figure = frontier_figure(info)
    drawn = {trace.name: trace for trace in figure.data}
    for group in info.groups:
        np.testing.assert_allclose(drawn[group.label].x, 100 * group.asr)
        np.testing.assert_allclose(drawn[group.label].y, 100 * group.acc)
        assert drawn[group.label].marker.color == group.colour
    np.testing.assert_allclose(drawn["front"].y, 100 * info.line[:, 1])
    assert info.recommended is not None
    assert drawn["recommended"].x[0] == pytest.approx(100 * info.recommended.scores.asr)
    assert drawn["recommended"].marker.color == LIGHT.accent
    assert figure.layout.shapes[0].y0 == pytest.approx(100 * (0.7825 - 0.03))
    assert {
        "no defence",
        "fine-tuning, 10%",
        "NAD (paper)",
        "NAD (code)",
        "fine-tuning, 20%",
    } < drawn.keys()
    assert [note.text for note in figure.layout.annotations] == ["least accuracy allowed: 75.2%", "<b>recommended</b>"]


@pytest.mark.parametrize(
    ("ends", "step"),
    [((52.0, 83.0), 5), ((70.1, 71.3), 0.2), ((-2.0, 102.0), 20), ((-0.1, 5.1), 1), ((-112.0, 112.0), 50)],
)
def test_ticks_are_round_and_at_most_eight(ends: tuple[float, float], step: float) -> None:
    assert tick_step(ends) == step


def test_a_study_without_a_complete_trial_still_shows_its_victim(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary.update(controls=[], recommended=None)
        for row in rows:
            row.update(state="RUNNING", asr="", acc="")

    info = frontier_info(_with(make_study, change))
    assert info.groups == ()
    assert info.front == ()
    assert [trace.name for trace in frontier_figure(info).data] == ["front", "no defence"]


def test_many_clean_fractions_share_the_colours_in_ranges(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], _summary: object) -> None:
        for row in rows:
            row["params_clean_fraction"] = (row["number"] + 1) / 100

    study = _with(make_study, change)
    groups = clean_fraction_groups(study.complete)
    assert len(groups) == len(LIGHT.ramp)
    assert groups[0][0] == "1% to 4%"
    assert np.sum([mask for *_, mask in groups], axis=0).tolist() == [1] * len(study.complete)


def test_trials_without_a_number_as_clean_fraction_are_grey(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], _summary: object) -> None:
        for row in rows:
            row["params_clean_fraction"] = "all of it" if row["number"] else ""

    ((label, colour, mask),) = clean_fraction_groups(_with(make_study, change).complete)
    assert (label, colour) == ("not stated", LIGHT.muted)
    assert mask.all()


def test_the_front_is_that_of_the_pure_function(study: Study) -> None:
    expected = study.complete["number"].iloc[front_order(trial_costs(study.complete))]
    assert frontier_info(study).front == tuple(expected)

"""What every figure of the page promises, over every entry of SECTIONS, and what each says of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.analysis.frontier import front_order, hypervolume
from reports.figures import SECTIONS, FigureSection, figure_sections
from reports.figures.attainment import AttainmentInfo, attainment_figure, attainment_info, attainment_section
from reports.figures.attainment import sentence as attainment_sentence
from reports.figures.confirmation import confirmation_info
from reports.figures.curves import Curve, CurvesInfo, curves_info
from reports.figures.curves import sentence as curves_sentence
from reports.figures.fractions import fractions_info
from reports.figures.hypervolume import HypervolumeInfo, hypervolume_figure, hypervolume_info
from reports.figures.hypervolume import sentence as hypervolume_sentence
from reports.figures.importances import importances_info, importances_section
from reports.figures.landscape import BANDWIDTH, landscape_figure, landscape_info, smoothed
from reports.figures.parallel import parallel_figure, parallel_info
from reports.figures.slices import slices_info, slices_section
from reports.figures.timeline import timeline_info, timeline_section
from reports.files import ReportError
from reports.study_folder import Study, read_study
from reports.trial_table import trial_costs

Make = Callable[..., Path]
Rows = list[dict[str, Any]]
Change = Callable[[Rows, dict[str, Any]], None]
CONTRACT = pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)


@pytest.fixture
def study(make_study: Make) -> Study:
    return read_study(make_study())


def _none_complete(rows: Rows, summary: dict[str, Any]) -> None:
    summary.update(controls=[], recommended=None)
    for row in rows:
        row.update(state="RUNNING", asr="", acc="", seconds="", compute_seconds="", curve="", started="")


def _one_complete(rows: Rows, summary: dict[str, Any]) -> None:
    summary.update(controls=[], recommended=None)
    del rows[1:]


def _all_equal(rows: Rows, summary: dict[str, Any]) -> None:
    for row in rows:
        row.update({name: value for name, value in rows[0].items() if name not in {"number", "started"}})


def _all_worthless(rows: Rows, _summary: dict[str, Any]) -> None:
    for row in rows:
        if row["asr"] != "":
            row.update(asr=1.0, acc=0.0)


@CONTRACT
def test_a_figure_says_what_to_see_and_has_its_data(
    section: Callable[[Study], FigureSection], make_study: Make, confirm: Change, repeat: Change
) -> None:
    def both(rows: Rows, summary: dict[str, Any]) -> None:
        repeat(rows, summary)
        confirm(rows, summary)

    shown = section(read_study(make_study(count=40, change=both)))
    assert shown.sentence.endswith(".")
    assert shown.note
    assert shown.panels
    assert all(panel.label and panel.drawing.data for panel in shown.panels)
    lengths = {len(column) for column in shown.data.values()}
    assert len(lengths) == 1
    assert lengths != {0}
    json.dumps({name: list(column) for name, column in shown.data.items()}, allow_nan=False)


@CONTRACT
@pytest.mark.parametrize("change", [_none_complete, _one_complete, _all_equal, _all_worthless])
def test_too_little_data_is_a_sentence_not_an_empty_figure(
    section: Callable[[Study], FigureSection], change: Change, make_study: Make
) -> None:
    shown = section(read_study(make_study(change=change)))
    assert shown.sentence.endswith(".")
    assert "nan" not in shown.sentence
    if change is _none_complete and shown.name != "frontier":
        assert shown.panels == ()
    assert all(panel.drawing.data for panel in shown.panels)


def test_names_are_distinct(study: Study) -> None:
    assert len(figure_sections(study)) == len(SECTIONS)


def test_hypervolume_grows_in_the_order_in_which_trials_finished(make_study: Make) -> None:
    def change(rows: Rows, _summary: object) -> None:
        rows[0]["seconds"] = 10_000

    study = read_study(make_study(change=change))
    info = hypervolume_info(study)
    assert info.numbers[-1] == 0
    assert (np.diff(info.values) >= 0).all()
    assert (np.diff(info.minutes) >= 0).all()
    assert info.minutes[-1] == pytest.approx(10_000 / 60)
    assert info.values[-1] == pytest.approx(hypervolume(trial_costs(study.complete)))
    assert info.expected[-1] == pytest.approx(info.values[-1])
    first = trial_costs(study.complete)[study.complete["number"].to_numpy() == info.numbers[0]]
    assert info.values[0] == pytest.approx(hypervolume(first))
    np.testing.assert_array_equal(hypervolume_figure(info).data[0].y, info.values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.1, 0.2], "too few for a verdict"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "still growing"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6, 0.6], "probably add little"),
        ([0.0, 0.0, 0.0], "No setting dominates anything"),
    ],
)
def test_whether_the_search_was_long_enough_is_said_from_its_last_third(values: list[float], words: str) -> None:
    grown = np.array(values)
    assert words in hypervolume_sentence(HypervolumeInfo(tuple(range(len(values))), grown, grown, grown))


def test_each_fraction_has_the_front_of_its_own_trials(study: Study) -> None:
    for one in fractions_info(study).fronts:
        rows = study.complete[study.complete["number"].isin(one.group.numbers)]
        assert one.front == tuple(rows["number"].iloc[front_order(trial_costs(rows))])
        kept = rows[rows["acc"] >= study.least_acc - 1e-9]["asr"]
        assert one.best == (kept.min() if len(kept) else None)


def test_a_setting_that_decides_the_scores_is_named_and_noise_is_not(make_study: Make) -> None:
    def change(rows: Rows, _summary: object) -> None:
        for row in rows:
            if row["asr"] != "":
                row["asr"] = 0.9 if row["params_recipe"] == "code" else 0.1 + row["number"] / 1000

    info = importances_info(read_study(make_study(count=40, change=change)))
    assert info.objectives[0].found[0] == "recipe"
    assert info.objectives[0].values.max() <= 1


def test_importances_of_a_dozen_trials_are_refused(make_study: Make) -> None:
    shown = importances_section(read_study(make_study(count=13, failing=2)))
    assert shown.panels == ()
    assert "cannot be told from 11 settings" in shown.sentence


def test_slices_hold_every_complete_trial_and_say_where_a_layer_is_off(study: Study) -> None:
    info = slices_info(study)
    assert info.numbers == tuple(study.complete["number"])
    for one in info.slices:
        layer = one.beta.name.removeprefix("beta_")
        off = [not params[f"distil_{layer}"] for params in study.complete["params"]]
        assert one.beta.absent.tolist() == off
        assert (one.axis.positions[one.beta.absent] == 0).all()
        assert (one.axis.positions[~one.beta.absent] > 0).all()


def test_a_beta_that_lowers_asr_is_said_to(make_study: Make) -> None:
    def change(rows: Rows, _summary: object) -> None:
        for row in rows:
            if row["asr"] != "":
                row["asr"] = 1 - min(row.get("params_beta_group1") or 0, 9000) / 10_000

    assert "lower ASR with β group1 (−1.00" in slices_section(read_study(make_study(count=60, change=change))).sentence


def test_the_landscape_keeps_trials_within_their_column(study: Study) -> None:
    info = landscape_info(study)
    for share, column in zip(study.complete["params"], info.column, strict=True):
        assert info.fractions[int(column)] == f"{100 * share['clean_fraction']:g}%"
    assert np.abs(info.aside).max() < 0.5


def test_the_contour_is_the_mean_of_what_is_near_and_empty_where_nothing_is() -> None:
    positions, scores = np.array([0.2, 0.2, 0.8]), np.array([0.1, 0.5, 0.9])
    found = smoothed(positions, scores, np.array([0.2, 0.2 + BANDWIDTH, 0.5, 0.8]))
    near = np.exp(-0.5 * ((0.2 + BANDWIDTH - positions) / BANDWIDTH) ** 2)
    np.testing.assert_allclose(found, [0.3, np.average(scores, weights=near), np.nan, 0.9], atol=1e-6)


def test_the_contour_lies_under_the_trials_that_distil_the_layer(make_study: Make) -> None:
    info = landscape_info(read_study(make_study(count=120)))
    for index, one in enumerate(info.slices):
        contour = info.contour(index)
        assert contour is not None
        places, asr = contour
        assert asr.shape == (len(places), len(info.fractions))
        on = ~one.beta.absent
        nearest = np.abs(places[:, None] - one.axis.positions[on]).argmin(axis=0)
        columns = info.column[on].astype(int)
        assert np.isfinite(asr[nearest, columns]).mean() > 0.8, "next to a trial there is nearly always something"
        for column in set(columns):
            drawn = asr[:, column][np.isfinite(asr[:, column])]
            own = info.asr[on][columns == column]
            assert ((drawn >= own.min() - 1e-9) & (drawn <= own.max() + 1e-9)).all()
        assert landscape_figure(info, index).data[0].type == "contour"


def test_a_dozen_trials_have_no_contour(make_study: Make) -> None:
    info = landscape_info(read_study(make_study(count=12)))
    assert info.slices
    assert {info.contour(index) for index in range(len(info.slices))} == {None}
    assert {trace.type for trace in landscape_figure(info, 0).data} == {"scatter"}


def test_parallel_lines_cross_every_axis_where_the_trial_stands(study: Study) -> None:
    info = parallel_info(study)
    assert [line.label for line in info.axes[-2:]] == ["ASR", "ACC"]
    assert sum(mask.sum() for _, _, mask in info.bands) == len(study.complete)
    figure = parallel_figure(info)
    run = len(figure.layout.meta["axes"]) + 1
    drawn = np.concatenate([np.array(trace.y, dtype=float).reshape(-1, run) for trace in figure.data])
    assert np.isnan(drawn[:, -1]).all()
    expected = info.positions[np.concatenate([np.flatnonzero(mask) for _, _, mask in info.bands])]
    np.testing.assert_allclose(drawn[:, :-1], expected, atol=1e-4)
    assert ((info.positions >= 0) & (info.positions <= 1)).all()


def test_curves_are_of_the_front_and_include_the_recommended_trial(make_study: Make) -> None:
    study = read_study(make_study(count=120))
    info = curves_info(study)
    front = study.complete["number"].iloc[front_order(trial_costs(study.complete))]
    assert [curve.number for curve in info.curves] == list(front)
    assert study.recommended is not None
    drawn = [info.curves[index].number for index in info.drawn]
    assert study.recommended.number in drawn
    assert {drawn[0], drawn[-1]} == {front.iloc[0], front.iloc[-1]}
    assert len(drawn) <= 7


def test_a_backdoor_that_comes_back_is_counted() -> None:
    back = Curve(3, True, np.array([[0.9, 0.5], [0.1, 0.6], [0.4, 0.7]]))
    gone = Curve(4, False, np.array([[0.9, 0.5], [0.4, 0.6], [0.1, 0.7]]))
    assert back.returned
    assert not gone.returned
    info = CurvesInfo(2, (back, gone), (0, 1))
    assert "In 1 of the 2 settings" in curves_sentence(info)
    assert "setting 3 was at its lowest, 10.0% at 60.0% accuracy, after epoch 2 of 3" in curves_sentence(info)


def test_a_curve_that_is_not_one_is_named(make_study: Make) -> None:
    with pytest.raises(ReportError, match="as curve of trial 5, not a list of scores"):
        read_study(make_study(change=lambda rows, _: rows[5].update(curve="[[0.5, 1.5]]")))


def test_trials_of_one_row_of_the_timeline_do_not_overlap_and_no_row_is_spare(study: Study) -> None:
    info = timeline_info(study)
    assert len(info.runs) == len(study.trials)
    for lane in range(len(info.lanes)):
        runs = sorted((run for run in info.runs if run.lane == lane), key=lambda run: run.start)
        assert all(a.start + a.seconds <= b.start + 1.5 for a, b in pairwise(runs))
    for host in set(study.trials["host"]):
        starts = study.trials[study.trials["host"] == host]
        begin = (starts["started"] - study.trials["started"].min()).dt.total_seconds().to_numpy()
        end = begin + starts["seconds"].to_numpy()
        most = max(((begin <= at) & (end > at + 1.5)).sum() for at in begin)
        assert sum(name.startswith(host) for name in info.lanes) == most
    assert 0 < info.busy <= 1


def test_trials_that_do_not_say_when_they_ran_are_counted(make_study: Make) -> None:
    study = read_study(make_study(change=lambda rows, _: rows[3].update(started="")))
    assert timeline_info(study).unknown == 1
    assert "1 of the trials do not say" in timeline_section(study).sentence


def test_a_confirmed_trial_of_the_front_and_of_the_controls_comes_once(make_study: Make, confirm: Change) -> None:
    def change(rows: Rows, summary: dict[str, Any]) -> None:
        confirm(rows, summary)
        summary["front"] = [{**summary["recommended"]}, {**summary["controls"][1]}]

    study = read_study(make_study(change=change))
    info = confirmation_info(study)
    numbers = [one.number for one in info]
    assert sorted(numbers) == sorted({0, 1, 2, 3, study.recommended.number})  # type: ignore[union-attr]
    assert [one.test.asr for one in info] == sorted(one.test.asr for one in info)
    assert sum(one.recommended for one in info) == 1


def test_a_damaged_point_of_the_front_is_named(make_study: Make) -> None:
    def change(_rows: Rows, summary: dict[str, Any]) -> None:
        summary["front"] = [{"number": 1, "params": {}}]

    with pytest.raises(ReportError, match=r"has no 'front\[0\]\.validation'"):
        read_study(make_study(change=change))


def _runs(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"draw": draw, "asr": asr, "acc": acc} for draw, (asr, acc) in enumerate(pairs, start=1)]


def test_attainment_is_of_the_trials_that_finished_in_every_draw(make_study: Make) -> None:
    def change(_rows: Rows, summary: dict[str, Any]) -> None:
        summary["max_acc_drop"] = 0.0
        tests = [_runs((0.1, 0.7), (0.3, 0.75)), _runs((0.2, 0.8), (0.6, 0.8)), _runs((0.0, 0.9))]
        for point, runs in zip(summary["controls"][1:4], tests, strict=True):
            ends = {f"{name}_ci": [0.0, 1.0] for name in ("asr", "acc")}
            point["test"] = {"asr": 0.2, "acc": 0.8, "seeds": len(runs), "diverged": 0, "runs": runs, **ends}

    info = attainment_info(read_study(make_study(change=change)))
    assert info is not None
    assert (info.settings, info.draws) == (2, 2)
    assert info.asr.tolist() == [0.1, 0.2, 0.3, 0.6]
    assert info.acc[0] == pytest.approx([0.7, 0.8, 0.8, 0.8])
    assert info.acc[1] == pytest.approx([-np.inf, -np.inf, 0.75, 0.8])
    # 10.0% and 30.0% are reached, too, but not with the victim's 78.25%
    assert attainment_sentence(info).endswith("gets down to 20.0% ASR at an allowed accuracy, and all draws to 60.0%.")
    assert attainment_sentence(info._replace(least_acc=0.85)).endswith(
        "no draw keeps the least accuracy allowed, 85.0%."
    )
    assert info.half is None, "half of two draws would be the best of them"
    for edge, begins in zip(attainment_figure(info).data, (0.3, 0.1), strict=True):
        x, y = np.array(edge.x), np.array(edge.y)
        assert (x[0], x[-1]) == pytest.approx((100 * begins, 100))
        assert ((np.diff(x) == 0) | (np.diff(y) == 0)).all()  # a slope would promise what no draw reached


@pytest.mark.parametrize(("draws", "least"), [(3, 2), (4, 2), (5, 3), (6, 3)])
def test_half_of_the_draws_is_the_least_number_that_is_at_least_half(draws: int, least: int) -> None:
    info = AttainmentInfo(np.array([0.1]), np.linspace(0.9, 0.7, draws)[:, None], 1, 0.5)
    assert info.half == least - 1
    assert [edge.name for edge in attainment_figure(info).data][-1] == "at least half of them"


def test_attainment_needs_two_draws(study: Study) -> None:
    assert attainment_info(study) is None
    assert attainment_section(study).panels == ()

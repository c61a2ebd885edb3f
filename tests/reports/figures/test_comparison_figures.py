from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.comparison import FreshVolume, Volume
from reports.figures.comparison import (
    below_axis,
    fronts_figure,
    fronts_info,
    growth_figure,
    growth_info,
    only,
    study_styles,
    volumes_figure,
)
from reports.study_folder import Study, read_study

Make = Callable[..., Path]


@pytest.fixture
def studies(make_study: Make) -> list[Study]:
    def change(name: str) -> Any:
        return lambda _rows, summary: summary.update(study=name)

    return [read_study(make_study(name=name, seed=seed, change=change(name))) for seed, name in ((5, "a"), (9, "b"))]


def traces(figure: Any, name: str, mode: str) -> list[Any]:
    return [trace for trace in figure.data if trace.legendgroup == name and trace.mode == mode and not trace.showlegend]


def test_a_study_looks_the_same_wherever_it_stands(studies: list[Study]) -> None:
    info = fronts_info(studies)
    alone = only(info, [1])
    assert [front.name for front in alone.studies] == ["b"]
    assert alone.studies[0].style == info.studies[1].style == study_styles(2)[1]
    assert alone.acc_range == info.acc_range


def test_the_axis_shows_what_each_study_alone_would_show(studies: list[Study]) -> None:
    low, high = fronts_info(studies).acc_range
    ranges = [fronts_info([study]).acc_range for study in studies]
    assert (low, high) == (min(r[0] for r in ranges), max(r[1] for r in ranges))


def test_fronts_are_drawn_where_they_are(studies: list[Study]) -> None:
    info = fronts_info(studies)
    figure = fronts_figure(info, all_trials=False)
    for study, front in zip(studies, info.studies, strict=True):
        (line,) = traces(figure, study.name, "lines")
        np.testing.assert_allclose(np.column_stack((line.x, line.y)), 100 * front.frontier.line)
        points, victim, ring = traces(figure, study.name, "markers")
        numbered = study.complete.set_index("number")
        expected = {round(100 * numbered.loc[number, "asr"], 6) for number in front.frontier.front}
        assert {round(x, 6) for x in points.x} == expected
        assert victim.x == (pytest.approx(100 * study.victim.scores.asr),)
        assert study.recommended is not None
        assert ring.x == (pytest.approx(100 * study.recommended.scores.asr),)


def test_a_panel_has_every_complete_trial_once(studies: list[Study]) -> None:
    info = only(fronts_info(studies), [0])
    figure = fronts_figure(info, all_trials=True)
    behind, on_front, *_marks = traces(figure, "a", "markers")
    assert len(behind.x) + len(on_front.x) == len(studies[0].complete)
    assert len(on_front.x) == len(info.studies[0].frontier.front)
    (least,) = figure.layout.shapes
    assert least.y0 == pytest.approx(100 * studies[0].least_acc)


def test_trials_under_the_axis_are_counted_as_drawn(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], _summary: Any) -> None:
        rows[4].update(asr=0.9, acc=0.1)  # behind the front
        rows[5].update(asr=0.0, acc=0.1)  # on it

    info = fronts_info([read_study(make_study(change=change))])
    assert below_axis(info, all_trials=False).startswith("1 setting has less than")
    assert below_axis(info, all_trials=True).startswith("2 settings have less than")
    _behind, front, *_ = traces(fronts_figure(info, all_trials=True), "refool-fashion-c", "markers")
    assert list(front.marker.symbol).count("triangle-down") == 1
    assert min(front.y) > 100 * info.acc_range[0]


def test_a_study_all_on_the_axis_needs_no_sentence(studies: list[Study]) -> None:
    assert below_axis(fronts_info(studies), all_trials=True) == ""


def test_hypervolumes_have_an_interval_only_where_there_is_one() -> None:
    fresh = FreshVolume(mean=0.5, bounds=(0.4, 0.6), draws=3, points=4)
    found = (Volume(9, 0.7, 0.6, fresh), Volume(9, 0.8, 0.8, fresh._replace(bounds=None)), Volume(9, 0.9, 0.9, None))
    figure = volumes_figure(["a", "b", "c"], found)
    drawn = [trace for trace in figure.data if not trace.showlegend and trace.x != (None,)]
    assert [(trace.x[0], trace.y[0]) for trace in drawn] == [(0.7, 0), (0.5, 0), (0.8, 1), (0.5, 1), (0.9, 2)]
    bars = [trace.error_x.array for trace in drawn]
    assert [bar is not None for bar in bars] == [False, True, False, False, False]
    assert (drawn[1].error_x.array[0], drawn[1].error_x.arrayminus[0]) == pytest.approx((0.1, 0.1))
    assert "95% interval over draws: 0.4000 to 0.6000" in drawn[1].hovertext[0]


def test_growth_ends_at_each_studys_hypervolume(studies: list[Study]) -> None:
    growths = growth_info(studies)
    figure = growth_figure([study.name for study in studies], growths)
    for trace, study, growth in zip(figure.data, studies, growths, strict=True):
        assert len(trace.x) == len(study.complete)
        assert trace.y[-1] == growth.values[-1]


def test_names_are_escaped_and_cut_in_figures(make_study: Make) -> None:
    name = "<b>bold</b>" + "x" * 100
    study = read_study(make_study(change=lambda _rows, summary: summary.update(study=name)))
    shown = [trace.name for trace in fronts_figure(fronts_info([study]), all_trials=True).data if trace.showlegend]
    assert shown == ["&lt;b&gt;bold&lt;/b&gt;" + "x" * 16 + "…"]

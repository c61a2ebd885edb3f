"""The report speaks of settings: estimates over draws, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.analysis.estimates import estimate
from reports.answer import answer
from reports.figures.curves import curves_info
from reports.figures.draws import draws_info
from reports.figures.fractions import fractions_info
from reports.figures.frontier_info import edge_symbols, frontier_info
from reports.figures.static_svg import static_svg
from reports.formatting import duration, interval, percent, with_interval
from reports.page.study_page import render
from reports.study_folder import Study, read_study
from reports.summary_text import summary_text
from reports.tables import front_rows, setting_rows

Make = Callable[..., Path]
Change = Callable[[list[dict[str, Any]], dict[str, Any]], None]


@pytest.fixture
def study(make_study: Make, repeat: Change) -> Study:
    return read_study(make_study(count=40, change=repeat))


def test_settings_have_the_estimates_of_their_runs(study: Study) -> None:
    complete = study.complete
    found = estimate(
        complete[["asr", "acc"]].to_numpy(dtype=float),
        complete["setting"].to_numpy(dtype=int),
        complete["draw"].to_numpy(dtype=int),
    )
    assert list(study.settings["number"]) == found.settings.tolist()
    np.testing.assert_allclose(study.settings[["asr", "acc"]].to_numpy(dtype=float), found.mean)
    assert study.settings["draws"].sum() == len(complete)
    assert set(study.settings["draws"]) == {1, 3}
    assert (study.settings["asr_low"] <= study.settings["asr"]).all()


@pytest.fixture
def noisy_study(make_study: Make, noisy: Change) -> Study:
    return read_study(make_study(count=40, change=noisy))


def test_front_is_of_reliable_settings_and_the_others_are_hollow(noisy_study: Study) -> None:
    study = noisy_study
    doubtful = set(study.settings[~study.settings["reliable"]]["number"])
    assert doubtful, "one draw of a noisy study says little"
    assert not doubtful & {row.number for row in front_rows(study)}
    info = frontier_info(study)
    assert not doubtful & set(info.front)
    for group in info.groups:
        for number, symbol in zip(group.numbers, edge_symbols(group, info).tolist(), strict=True):
            assert symbol.endswith("-open") == (number in doubtful)
    assert [row.reliable for row in setting_rows(study)] == sorted(row.reliable for row in setting_rows(study))[::-1]


def test_unreliable_settings_are_on_no_front(noisy_study: Study) -> None:
    doubtful = set(noisy_study.settings[~noisy_study.settings["reliable"]]["number"])
    front = frontier_info(noisy_study).front
    assert [curve.number for curve in curves_info(noisy_study).curves] == list(front)
    fractions = fractions_info(noisy_study).fronts
    assert not doubtful & {number for one in fractions for number in one.front}
    kept = noisy_study.reliable[noisy_study.reliable["number"].isin(noisy_study.kept)]
    assert min(one.best for one in fractions if one.best is not None) == kept["asr"].min()
    assert any(not one.front for one in fractions) == any(not one.group.reliable.any() for one in fractions)


def test_static_picture_shows_hollow_settings_also_at_its_edges(noisy_study: Study) -> None:
    info = frontier_info(noisy_study)
    assert info.below >= 2
    glyphs = [place.glyph for series in static_svg(info).trials for place in series.places]
    assert glyphs.count("▽") == info.below
    assert glyphs.count("○") + glyphs.count("▽") == (~noisy_study.settings["reliable"]).sum()


def test_each_setting_opens_to_its_runs(study: Study) -> None:
    rows = {row.number: row for row in setting_rows(study)}
    assert sum(len(row.runs) for row in rows.values()) == len(study.complete)
    chosen = rows[study.recommended.number]  # type: ignore[union-attr]
    assert [run.draw for run in chosen.runs] == [0, 1, 2]
    runs = study.complete[study.complete["setting"] == chosen.number].sort_values("draw")
    assert [run.scores.asr for run in chosen.runs] == list(runs["asr"])
    page = render(study)
    repeated = study.complete[study.complete["number"] == chosen.runs[2].number].iloc[0]
    assert f"seed {repeated['seed']:.0f}, {duration(repeated['seconds'])}, on <bdi>{repeated['host']}" in page
    assert page.count("<details><summary>3 draws") == sum(len(row.runs) == 3 for row in rows.values())


def test_front_has_intervals_on_the_page_and_in_the_text(study: Study) -> None:
    page, text = render(study), summary_text(study)
    for row in front_rows(study):
        ((low, high),) = study.settings[study.settings["number"] == row.number][["asr_low", "asr_high"]].to_numpy()
        assert row.asr_ci == (low, high)
        assert f'{percent(row.scores.asr)} <span class="interval">{interval((low, high), 0)}' in page
        assert with_interval(row.scores.asr, (low, high)) in text


def test_answer_says_on_how_many_draws_and_how_sure_it_is(study: Study) -> None:
    headline = answer(study).headline
    assert "(95% interval" in headline
    assert "The search ran it on 3 draws." in headline
    assert "reliable settings inside the accuracy bound, it has the lowest ASR with a probability of" in headline
    assert "No setting is reliable yet" not in headline


def test_answer_does_not_call_settings_reliable_before_they_are(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.answer.RELIABLE", 1.0)
    headline = answer(study).headline
    assert "candidates inside the accuracy bound" in headline
    assert headline.endswith("No setting is reliable yet: these are the ones with the most draws.")


def test_draws_are_shown_where_there_are_several(study: Study, make_study: Make) -> None:
    info = draws_info(study)
    assert len(info.asr) == 3 * len(info.settings) == 3 * (study.settings["draws"] > 1).sum()
    assert list(info.estimates) == sorted(info.estimates)
    groups = [info.asr[info.row == row] for row in range(len(info.settings))]
    assert info.within == pytest.approx(np.sqrt(np.mean([group.var(ddof=1) for group in groups])))
    complete = study.complete
    numbers = (complete[name].to_numpy(dtype=int) for name in ("setting", "draw"))
    kappa = estimate(complete[["asr"]].to_numpy(dtype=float), *numbers).kappa[0]
    assert info.share == pytest.approx(kappa / (1 + kappa))
    assert draws_info(read_study(make_study(name="plain"))).settings == ()


def test_study_of_an_earlier_version_keeps_its_single_scores(make_study: Make) -> None:
    study = read_study(make_study())
    assert not study.estimated
    assert list(study.settings["asr"]) == list(study.complete["asr"])
    assert study.settings["reliable"].all()
    assert "interval" not in answer(study).headline
    assert {row.asr_ci for row in front_rows(study)} == {None}
    assert "An earlier version ran this study" in render(study)
    assert "probability" not in answer(study).headline

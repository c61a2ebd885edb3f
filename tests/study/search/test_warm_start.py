from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from earlier_studies import LAYERS, diagonal, point, study_folder
from optuna.trial import BaseTrial, TrialState

import search_spaces
from nad.erasure import EraseConfig
from nad.errors import ConfigError
from reports.analysis.frontier import non_dominated
from search_spaces import Domain, Point
from study.search.queue import enqueue
from study.search.warm_start import MOST_POINTS, as_drawn, best_first, warm_start

DOMAIN = Domain(LAYERS, (0.05, 0.1))
SPACE = search_spaces.get("nad")
NONE = Path("/nowhere")


def epochs_of(found: Any) -> list[Any]:
    return [each.params["epochs"] for each in found.points]


# which points


def test_fronts_come_one_after_the_other() -> None:
    costs = np.random.default_rng(0).random((40, 2))
    order = best_first(costs)
    assert sorted(order) == list(range(40))
    left = order
    while left:
        front = {left[at] for at in np.flatnonzero(non_dominated(costs[left]))}
        assert set(left[: len(front)]) == front
        left = left[len(front) :]


def test_first_of_a_long_front_cover_it() -> None:
    front = np.column_stack((np.linspace(0, 1, 33), np.linspace(1, 0, 33)))
    gaps = np.diff(sorted(best_first(front)[:9]))
    assert best_first(front)[:2] == [0, 32]
    assert set(gaps) == {4}


def test_best_points_are_taken_and_no_more_than_ten(tmp_path: Path) -> None:
    points = [point(epochs=epochs) for epochs in range(2, 18)]
    folder = study_folder(tmp_path / "a", points, diagonal(16))
    found = warm_start([folder], NONE, SPACE, DOMAIN)
    assert epochs_of(found) == list(range(2, 2 + MOST_POINTS))
    assert {each.study for each in found.points} == {"a"}
    assert found.points[0].params == points[0]
    assert found.skipped == Counter()


def test_several_studies_take_turns_and_share_what_both_found(tmp_path: Path) -> None:
    one = study_folder(tmp_path / "a", [point(epochs=n) for n in (2, 3, 4)], diagonal(3))
    two = study_folder(tmp_path / "b", [point(epochs=n) for n in (12, 2, 13)], diagonal(3))
    assert epochs_of(warm_start([one, two], NONE, SPACE, DOMAIN)) == [2, 12, 3, 4, 13]


def test_what_the_controls_ask_is_not_asked_twice(tmp_path: Path) -> None:
    controls = [dict(control.params) for control in SPACE.controls(DOMAIN)]
    folder = study_folder(tmp_path / "a", [*controls, point()], diagonal(len(controls) + 1))
    found = warm_start([folder], NONE, SPACE, DOMAIN)
    assert [each.params for each in found.points] == [point()]
    assert found.skipped == Counter()


# what does not fit


@pytest.mark.parametrize(
    ("params", "space", "reason"),
    [
        (point(), "nad", None),
        (point(clean_fraction=0.01), "nad", "clean_fraction 0.01"),
        (point(schedule="one-cycle"), "nad", "schedule one-cycle"),
        (point(epochs=40), "nad", "epochs out of range"),
        (point(distil_group3=True, beta_group3=9000.0), "nad", "beta_group3 out of range"),
        (point(distil_group3=True, beta_group3=float("nan")), "nad", "beta_group3 out of range"),
        (point(distil_group3=True), "nad", "no beta_group3"),
        (point(batch_size=32), "nad", "batch_size, not varied here"),
        (point(), "nad-steps", "no batch_size"),
        (point(batch_size=32, schedule="one-cycle"), "nad-steps", None),
    ],
)
def test_point_fits_where_the_space_could_have_drawn_it(params: dict[str, Any], space: str, reason: str | None) -> None:
    assert as_drawn(params, search_spaces.get(space), DOMAIN) == (params, reason)


def test_whole_numbers_that_a_table_has_as_fractions_are_whole_again(tmp_path: Path) -> None:
    """As earlier versions wrote them beside a trial that was lost before it had its settings."""
    control = next(control.params for control in SPACE.controls(DOMAIN) if control.name == "fine-tuning")
    given = [
        {**params, "cutout": float(params["cutout"]), "epochs": float(params["epochs"])}
        for params in (point(), control)
    ]
    (found,) = warm_start([study_folder(tmp_path / "a", given, diagonal(2))], NONE, SPACE, DOMAIN).points
    assert found.params == point()
    assert {name: type(found.params[name]) for name in ("cutout", "epochs")} == {"cutout": int, "epochs": int}


def test_point_that_an_erase_refuses_is_one_that_does_not_fit() -> None:
    def suggest(trial: BaseTrial, domain: Domain) -> Point:
        return Point(0.05, EraseConfig(epochs=trial.suggest_int("epochs", 0, 20)))

    space = replace(SPACE, suggest=suggest)
    reason = as_drawn({"epochs": 0}, space, DOMAIN)[1]
    assert reason == "settings refused by the erase (epochs must be in [1, 1000], got 0)"


def test_skipped_points_make_room_and_are_counted_in_one_sentence(tmp_path: Path) -> None:
    points = [point(clean_fraction=0.01, epochs=2), point(clean_fraction=0.01, epochs=3), point(epochs=50), point()]
    found = warm_start([study_folder(tmp_path / "a", points, diagonal(4))], NONE, SPACE, DOMAIN)
    assert [each.params for each in found.points] == [point()]
    assert str(found) == (
        "warm start: settings of earlier studies, asked once after the controls: 1; skipped, unfit for"
        " this study: 3 (2 with clean_fraction 0.01, 1 with epochs out of range)"
    )


@pytest.mark.parametrize("name", ["nothing", "file", "empty"])
def test_folder_without_a_study_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=f"^--warm-start: .*{name}") as caught:
        warm_start([tmp_path / name], NONE, SPACE, DOMAIN)
    assert "\n" not in str(caught.value)


def test_study_cannot_begin_where_it_ended_itself(tmp_path: Path) -> None:
    folder = study_folder(tmp_path / "a", [point()], diagonal(1))
    with pytest.raises(ConfigError, match="is this study itself"):
        warm_start([tmp_path / "a" / ".." / "a"], folder, SPACE, DOMAIN)


# what is asked


def test_points_are_asked_as_they_were_read_and_once(study: optuna.study.Study, tmp_path: Path) -> None:
    exact = point(distil_group3=True, beta_group3=123.45678901234567)
    folder = study_folder(tmp_path / "a", [exact, point(epochs=3)], diagonal(2))
    for _ in range(2):
        for each in warm_start([folder], NONE, SPACE, DOMAIN).points:
            enqueue(study, each.params, {"warm_start": each.study})
    assert len(study.get_trials(states=(TrialState.WAITING,))) == 2
    asked = study.ask()
    SPACE.suggest(asked, DOMAIN)
    assert asked.params == exact
    assert asked.user_attrs == {"warm_start": "a"}

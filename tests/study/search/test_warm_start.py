from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from earlier_studies import LAYERS, diagonal, point, study_folder
from optuna.trial import BaseTrial, FixedTrial, TrialState

import search_spaces
from nad.erasure import EraseConfig
from nad.errors import ConfigError
from reports.analysis.frontier import non_dominated
from search_spaces import Domain, Point
from study.search.queue import enqueue
from study.search.warm_start import MOST_POINTS, WARM_START, WarmStart, best_first, best_of, coordinates, fitting

DOMAIN = Domain(LAYERS, (0.05, 0.1), dict.fromkeys(LAYERS, 0.5))
SPACE = search_spaces.get("nad")
NONE = Path("/nowhere")


def warm_start(folders: list[Path]) -> WarmStart:
    return fitting(best_of(folders, NONE), SPACE, DOMAIN, most=MOST_POINTS)


def settings_of(found: WarmStart) -> list[dict[str, Any]]:
    return [SPACE.suggest(FixedTrial(params), DOMAIN).values(LAYERS) for _study, params in found.points]


def epochs_of(found: WarmStart) -> list[Any]:
    return [params["epochs"] for _study, params in found.points]


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
    points = [point(epochs=epochs) for epochs in range(4, 20)]
    folder = study_folder(tmp_path / "a", points, diagonal(16))
    found = warm_start([folder])
    assert epochs_of(found) == list(range(4, 4 + MOST_POINTS))
    assert {study for study, _params in found.points} == {"a"}
    assert settings_of(found)[0] == points[0]
    assert found.skipped == Counter()


def test_several_studies_take_turns_and_share_what_both_found(tmp_path: Path) -> None:
    one = study_folder(tmp_path / "a", [point(epochs=n) for n in (4, 5, 6)], diagonal(3))
    two = study_folder(tmp_path / "b", [point(epochs=n) for n in (12, 4, 13)], diagonal(3))
    assert epochs_of(warm_start([one, two])) == [4, 12, 5, 6, 13]


def test_what_the_controls_ask_is_not_asked_twice(tmp_path: Path) -> None:
    controls = [control.point.values(LAYERS) for control in SPACE.controls(DOMAIN)]
    folder = study_folder(tmp_path / "a", [*controls, point()], diagonal(len(controls) + 1))
    found = warm_start([folder])
    assert settings_of(found) == [point()]
    assert found.skipped == Counter()


# what does not fit


BETA = 500.0


@pytest.mark.parametrize(
    ("setting", "space", "reason"),
    [
        (point(), "nad", None),
        (point(clean_fraction=0.01), "nad", "clean_fraction 0.01"),
        (point(epochs=41), "nad", "epochs out of range"),
        (point(distil_group3=True, beta_group3=BETA), "nad", None),
        (point(distil_group3=True, beta_group3=BETA), "fine-tuning", "distil_group3 True, not searched here"),
        (point(distil_group3=True, beta_group3=1e8), "nad", "strength_group3 out of range"),
        (point(cutout=9), "nad", "cutout 9, not searched here"),
        (point(power=4.0), "nad", "power 4.0, not searched here"),
    ],
)
def test_setting_fits_where_the_space_could_have_drawn_it(
    setting: dict[str, Any], space: str, reason: str | None
) -> None:
    params, why = coordinates(Point.of(setting), search_spaces.get(space), DOMAIN)
    assert why == (reason or "")
    if not why:
        suggested = search_spaces.get(space).suggest(FixedTrial(params), DOMAIN)
        assert suggested.values(LAYERS) == setting


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (point(schedule="linear"), "settings refused by the erase (unknown schedule 'linear'"),
        (point(distil_group3=True, beta_group3=-1.0), "settings refused by the erase (beta of group3"),
        (point(distil_group3=True), "settings refused by the erase (the layer group3 has no beta)"),
        (point(momentum_of="x"), "settings refused by the erase ("),
        (point(distil_layer9=True, beta_layer9=BETA), "the layer layer9, not of this model"),
    ],
)
def test_setting_that_is_none_for_this_model_is_counted(tmp_path: Path, setting: dict[str, Any], reason: str) -> None:
    found = warm_start([study_folder(tmp_path / "a", [setting], diagonal(1))])
    assert found.points == []
    assert [why.startswith(reason) for why in found.skipped] == [True], found.skipped


def test_setting_of_an_earlier_version_has_the_values_fixed_then(tmp_path: Path) -> None:
    """Whole numbers may be 7.0 beside a trial that was lost before it had its settings."""
    old = {name: value for name, value in point(epochs=7.0, cutout=3.0).items() if name not in ("lr", "batch_size")}
    (found,) = settings_of(warm_start([study_folder(tmp_path / "a", [old], diagonal(1))]))
    assert found == point(lr=0.1)
    assert {name: type(found[name]) for name in ("cutout", "epochs")} == {"cutout": int, "epochs": int}


def test_point_that_an_erase_refuses_is_one_that_does_not_fit() -> None:
    def suggest(trial: BaseTrial, domain: Domain) -> Point:
        return Point(0.05, EraseConfig(epochs=0 * trial.suggest_int("epochs", 1, 20)))

    space = replace(SPACE, suggest=suggest, coordinates=lambda each, _domain: {"epochs": each.erase.epochs})
    reason = coordinates(Point.of(point(epochs=1)), space, DOMAIN)[1]
    assert reason == "settings refused by the erase (epochs must be in [1, 1000], got 0)"


def test_skipped_points_make_room_and_are_counted_in_one_sentence(tmp_path: Path) -> None:
    points = [point(clean_fraction=0.01, epochs=2), point(clean_fraction=0.01, epochs=3), point(epochs=50), point()]
    found = warm_start([study_folder(tmp_path / "a", points, diagonal(4))])
    assert settings_of(found) == [point()]
    assert found.said(WARM_START) == (
        "warm start: settings of earlier studies, asked once after the controls: 1; skipped, unfit for"
        " this study: 3 (2 with clean_fraction 0.01, 1 with epochs out of range)"
    )


@pytest.mark.parametrize("name", ["nothing", "file", "empty"])
def test_folder_without_a_study_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=f"^--warm-start: .*{name}") as caught:
        best_of([tmp_path / name], NONE)
    assert "\n" not in str(caught.value)


def test_study_cannot_begin_where_it_ended_itself(tmp_path: Path) -> None:
    folder = study_folder(tmp_path / "a", [point()], diagonal(1))
    with pytest.raises(ConfigError, match="is this study itself"):
        best_of([tmp_path / "a" / ".." / "a"], folder)


# what is asked


def test_settings_are_asked_as_they_were_read_and_once(study: optuna.study.Study, tmp_path: Path) -> None:
    exact = point(distil_group3=True, beta_group3=123.4)
    folder = study_folder(tmp_path / "a", [exact, point(epochs=5)], diagonal(2))
    for _ in range(2):
        for name, params in warm_start([folder]).points:
            enqueue(study, params, {"warm_start": name})
    assert len(study.get_trials(states=(TrialState.WAITING,))) == 2
    asked = study.ask()
    assert SPACE.suggest(asked, DOMAIN).values(LAYERS) == exact
    assert asked.user_attrs == {"warm_start": "a"}


def test_a_setting_of_several_draws_is_one_candidate(tmp_path: Path) -> None:
    folder = study_folder(tmp_path / "a", [point(epochs=5), point(epochs=6), point(epochs=5)], diagonal(3))
    table = (folder / "trials.csv").read_text()
    lines = table.splitlines()
    header = lines[0].split(",")
    last = lines[3].split(",")
    last[header.index("setting")], last[header.index("draw")] = "0", "1"
    (folder / "trials.csv").write_text("\n".join([*lines[:3], ",".join(last)]) + "\n")
    assert epochs_of(warm_start([folder])) == [5, 6]

from __future__ import annotations

from collections import Counter
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from toys import (
    DIRECTIONS,
    FINAL,
    coarse_space,
    conditional_space,
    play,
    play_all,
    searcher_of,
    states,
)

from reports.analysis.frontier import Bound
from study.record.storage import open_study
from study.search.queue import enqueue
from study.search.samplers import SAMPLERS, make_sampler
from study.search.searcher import trial_seed
from study.search.settings import MOST_FAILURES, SettingTable

# what is asked


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_fills_a_conditional_space(url: str, sampler: str) -> None:
    study = open_study(url, "s", sampler, 0, DIRECTIONS)
    play_all(searcher_of(study, wanted=14, space=conditional_space))
    assert states(study) == ["COMPLETE"] * 14


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_resumed_study_does_not_repeat_its_first_draws(url: str, sampler: str) -> None:
    for wanted in (4, 8):
        play_all(searcher_of(open_study(url, "s", sampler, 0, DIRECTIONS), wanted))
    drawn = [trial.params["x"] for trial in open_study(url, "s", sampler, 0, DIRECTIONS).trials]
    assert len(set(drawn)) == len(drawn) == 8


def test_same_study_seed_asks_the_same_points(tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "two"):
        study = open_study(f"sqlite:///{tmp_path}/{name}.db", name, "tpe", 3, DIRECTIONS)
        play_all(searcher_of(study, 12))
        drawn.append([trial.params for trial in study.trials])
    assert drawn[0] == drawn[1]


# seeds and repeats


def test_setting_proposed_again_is_on_its_next_draw_under_a_new_seed(study: optuna.study.Study) -> None:
    play_all(searcher_of(study, wanted=8, space=coarse_space))
    for value in (1, 2):
        attrs = [trial.user_attrs for trial in study.trials if trial.params["x"] == value]
        assert [entry["draw"] for entry in attrs] == list(range(len(attrs)))
        assert len({entry["seed"] for entry in attrs}) == len(attrs)


def test_points_share_seeds_and_other_studies_of_the_seed_too(tmp_path: Path) -> None:
    found: list[set[tuple[int, int]]] = []
    for sampler in ("random", "tpe"):
        study = open_study(f"sqlite:///{tmp_path}/{sampler}.db", "s", sampler, 9, DIRECTIONS)
        play_all(searcher_of(study, wanted=6, space=coarse_space))
        found.append({(trial.user_attrs["draw"], trial.user_attrs["seed"]) for trial in study.trials})
    shared = found[0] & found[1]
    assert (0, trial_seed(5, 0)) in shared
    assert len({seed for _, seed in found[0]}) == len(found[0])


def test_trial_seeds_differ_between_studies_and_draws() -> None:
    seeds = [trial_seed(study, draw) for study in range(20) for draw in range(20)]
    assert len(set(seeds)) == 400
    assert trial_seed(0, 0) == 2968811710, "a change of the seeds makes old studies incomparable"


@given(st.lists(st.sampled_from(["ask", "complete", "fail"]), max_size=25))
def test_no_two_live_trials_share_a_setting_and_a_draw(steps: list[str]) -> None:
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=optuna.samplers.RandomSampler(seed=1))
    searcher = searcher_of(study, wanted=99, max_failures=99, space=coarse_space)
    running: list[str] = []
    for number, step in enumerate(steps):
        if step == "ask":
            searcher.suggest(f"t{number}")
            running.append(f"t{number}")
        elif running:
            searcher.on_trial_complete(running.pop(0), FINAL if step == "complete" else {"error": "boom"})
    live = study.get_trials(states=(TrialState.COMPLETE, TrialState.RUNNING))
    used = [(trial.params["x"], trial.user_attrs["draw"]) for trial in live]
    assert len(set(used)) == len(used)


def test_failed_point_gets_its_seed_again(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=1, space=lambda trial: {"x": trial.suggest_int("x", 1, 1)})
    first = play(searcher, {"error": "boom"})
    assert play(searcher)["seed"] == first["seed"]


# repeats


def fewest(table: SettingTable, left: int) -> int | None:
    """The setting with the fewest draws."""
    counts = Counter([*table.erases.setting.tolist(), *(setting for setting, _draw in table.running)])
    return min(table.estimates.settings.tolist(), key=lambda number: (counts[number], number), default=None)


def alternating(table: SettingTable, left: int) -> int | None:
    """The same for every second trial."""
    return fewest(table, left) if (len(table.erases.setting) + len(table.running)) % 2 else None


def drawn(study: optuna.study.Study) -> list[tuple[float, int]]:
    return [(trial.params["x"], trial.user_attrs["draw"]) for trial in study.trials if trial.state.name == "COMPLETE"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_repeats_are_the_same_point_on_the_next_draw(url: str, sampler: str) -> None:
    study = open_study(url, "s", sampler, 0, DIRECTIONS)
    play_all(searcher_of(study, wanted=8, allocation=alternating))
    points = [x for x, _draw in drawn(study)]
    assert points == [x for pair in zip(points[::2], points[::2], strict=True) for x in pair]
    assert [draw for _x, draw in drawn(study)] == [0, 1] * 4
    assert [trial.user_attrs["seed"] for trial in study.trials[:2]] == [trial_seed(5, 0), trial_seed(5, 1)]
    assert all(trial.user_attrs["setting"] == trial.params for trial in study.trials)


def test_setting_outside_of_the_space_is_repeated_too(study: optuna.study.Study) -> None:
    enqueue(study, {}, {"control": "far", "setting": {"x": 7.0}})
    configs = [play(searcher_of(study, wanted=2, allocation=alternating)) for _ in range(2)]
    assert [(config["setting"], config["draw"]) for config in configs] == [({"x": 7.0}, 0), ({"x": 7.0}, 1)]
    assert study.trials[1].params == {}


def test_repeat_queued_by_a_killed_driver_runs_next_and_once(url: str, study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=4, allocation=alternating)
    play(searcher)
    searcher._queue_repeat(3)  # and the driver dies
    play_all(searcher_of(open_study(url, "s", "random", 0, DIRECTIONS), wanted=4, allocation=alternating))
    assert [draw for _x, draw in drawn(study)] == [0, 1, 0, 1]


def test_resumed_study_repeats_as_an_undisturbed_one(url: str, study: optuna.study.Study) -> None:
    for name, ends in (("whole", [9]), ("broken", [2, 3, 6, 9])):
        of = open_study(url, name, "random", 0, DIRECTIONS)
        for x in (0.1, 0.2, 0.3, 0.4, 0.5):
            enqueue(of, {"x": x}, {})
        for wanted in ends:
            searcher = searcher_of(open_study(url, name, "random", 0, DIRECTIONS), wanted + 1, allocation=fewest)
            while searcher.settings.erases.setting.size < wanted:
                play(searcher)
            searcher.suggest("lost")  # killed in the middle of it
    whole, broken = (sorted(drawn(open_study(url, name, "random", 0, DIRECTIONS))) for name in ("whole", "broken"))
    assert whole == broken


def test_setting_that_diverges_on_a_draw_is_given_up(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=4, allocation=alternating)
    play(searcher)
    play(searcher, {"error": "diverged", "diverged": True})
    play_all(searcher)
    assert [trial.user_attrs["draw"] for trial in study.trials] == [0, 1, 0, 1, 0]
    assert searcher.settings.erases.setting.tolist() == [2, 2, 4]


def test_draw_that_fails_again_and_again_is_passed_over(study: optuna.study.Study) -> None:
    searcher = searcher_of(study, wanted=9, allocation=lambda table, _left: min(table.first, default=None))
    play(searcher)
    for _ in range(MOST_FAILURES):
        play(searcher, {"error": "the disk is full"})
    play(searcher)
    assert [trial.user_attrs["draw"] for trial in study.trials] == [0, *[1] * MOST_FAILURES, 2]


# the bound


def test_sampler_prefers_settings_inside_the_bound() -> None:
    """Both scores are best at x = 0, where the accuracy is under the bound."""
    inside = {}
    for name, bound in (("free", None), ("bound", Bound(0.5, acc=1.5))):
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=make_sampler("tpe", 0))
        searcher = searcher_of(study, wanted=30, bound=bound)
        while not searcher.finished:
            config = searcher.suggest("t")
            assert config is not None
            x = config["setting"]["x"]
            searcher.on_trial_complete("t", {"final": True, "asr": x, "acc": 0.6 + 0.4 * x})
        inside[name] = sum(0.6 + 0.4 * trial.params["x"] >= 0.9 for trial in study.trials[15:])
    assert inside["bound"] >= 2 * inside["free"] + 5, inside


# stopping when there is enough


def test_no_trial_starts_while_there_is_enough_and_one_that_runs_may_end_that(study: optuna.study.Study) -> None:
    enough = False
    searcher = searcher_of(study, wanted=9, enough=lambda: enough)
    for trial_id in ("a", "b"):
        assert searcher.suggest(trial_id) is not None
    enough = True
    searcher.on_trial_complete("a", FINAL)
    assert searcher.suggest("c") is None
    assert not searcher.finished, "one still runs"
    enough = False
    searcher.on_trial_complete("b", FINAL)
    assert searcher.suggest("c") is not None
    enough = True
    searcher.on_trial_complete("c", FINAL)
    assert searcher.finished
    assert states(study) == ["COMPLETE"] * 3


def test_study_that_has_enough_starts_nothing_when_resumed(study: optuna.study.Study) -> None:
    play_all(searcher_of(study, wanted=2))
    assert searcher_of(study, wanted=9, enough=lambda: True).finished
    assert not searcher_of(study, wanted=9).finished

from __future__ import annotations

import time
from collections.abc import Iterator

import optuna
import pytest
from driver_marks import earlier, leave_mark, mark_of
from optuna.trial import TrialState
from processes import wait_until
from toys import DIRECTIONS, FINAL, play, searcher_of, states

from nad.errors import ConfigError, NadError
from study.record import heartbeat
from study.record.driver import Driver
from study.record.heartbeat import sole_driver
from study.record.storage import open_study


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    monkeypatch.setattr(heartbeat, "WATCH", 1.0)


@pytest.fixture(params=["sqlite", "journal"])
def two(request: pytest.FixtureRequest) -> tuple[optuna.Study, optuna.Study]:
    """The same study, as two drivers have it open."""
    url = request.getfixturevalue("url")
    if request.param == "journal":
        url = f"journal:{request.getfixturevalue('tmp_path')}/j"
    return tuple(open_study(url, "s", "random", 0, DIRECTIONS) for _ in range(2))  # type: ignore[return-value]


def is_free(study: optuna.Study) -> bool:
    return Driver.read(mark_of(study)) is None


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Drivers of this test are on two hosts: neither can see the other's process."""
    monkeypatch.setattr(Driver, "alive", property(lambda _driver: None))
    return


def test_record_says_who_drives_it_and_no_longer_when_it_ends(two: tuple[optuna.Study, optuna.Study]) -> None:
    one, other = two
    said: list[str] = []
    with sole_driver(one, None, take_over=False, say=said.append):
        first = mark_of(other)
        assert Driver.read(first) is not None
        wait_until(lambda: mark_of(other)["count"] > first["count"], seconds=5)
    assert is_free(other)
    with sole_driver(other, None, take_over=False, say=said.append):
        pass
    assert said == []


def test_second_driver_on_the_same_host_is_refused_at_once(two: tuple[optuna.Study, optuna.Study]) -> None:
    one, other = two
    with sole_driver(one, None, take_over=False, say=pytest.fail):
        refused = pytest.raises(
            ConfigError, match=r"'s' is being run by process .* since less than a minute; wait for it"
        )
        with refused, sole_driver(other, None, take_over=False, say=pytest.fail):
            pass
        assert mark_of(one)["token"]


def test_second_driver_on_another_host_sees_the_mark_move(
    two: tuple[optuna.Study, optuna.Study], elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.setattr(heartbeat, "WATCH", 120.0)
    said: list[str] = []
    with sole_driver(one, None, take_over=False, say=pytest.fail):
        began = time.monotonic()
        with (
            pytest.raises(ConfigError, match="being run by"),
            sole_driver(other, None, take_over=False, say=said.append),
        ):
            pass
        assert time.monotonic() - began < heartbeat.WATCH / 2, "it need not wait to the end"
        assert len(said) == 1


def test_mark_that_does_not_move_is_taken_over_whatever_the_clocks_say(
    two: tuple[optuna.Study, optuna.Study], elsewhere: None
) -> None:
    one, other = two
    driver = leave_mark(one, started="2999-01-01T00:00:00+00:00", host="far")
    said: list[str] = []
    began = time.monotonic()
    with sole_driver(other, None, take_over=False, say=said.append):
        assert heartbeat.WATCH <= time.monotonic() - began < 5
        assert mark_of(one)["count"] >= 1
    assert "waiting up to 1 seconds" in said[0]
    assert said[1] == f"the study is taken over from {driver}: its unfinished trials run again"


def test_killed_driver_of_this_host_is_taken_over_at_once_and_mentioned_once(
    two: tuple[optuna.Study, optuna.Study],
) -> None:
    one, other = two
    driver = leave_mark(one, born=earlier())
    said: list[str] = []
    for known, sentences in ((None, 1), (driver, 1)):
        with sole_driver(other, known, take_over=False, say=said.append):
            assert len(said) == sentences
        leave_mark(one, born=earlier(), started=driver.started)


def test_driver_of_another_boot_is_watched_for_it_may_run_on_a_machine_of_the_same_name(
    two: tuple[optuna.Study, optuna.Study],
) -> None:
    leave_mark(two[0], born="another boot:0")
    said: list[str] = []
    with sole_driver(two[1], None, take_over=False, say=said.append):
        assert "waiting up to 1 seconds" in said[0]


def test_driver_that_was_taken_over_by_force_stops_and_spoils_nothing(
    two: tuple[optuna.Study, optuna.Study], elsewhere: None
) -> None:
    one, other = two
    with sole_driver(one, None, take_over=False, say=pytest.fail):
        trial = one.ask()
        with sole_driver(other, None, take_over=True, say=lambda _sentence: None):
            started = other.ask()
            wait_until(lambda: bool(one._storage.barred), seconds=5)  # type: ignore[attr-defined]
            with pytest.raises(NadError, match="'s' has been taken over by process"):
                one.tell(trial, state=TrialState.FAIL)
            other.tell(started, [0.5, 0.5])
            assert states(other) == ["RUNNING", "COMPLETE"]
            token = mark_of(other)["token"]
        assert is_free(other)
        leave_mark(other)
    assert mark_of(other)["token"] == "other" != token, "the one that was ousted takes nobody's mark away"


def test_ousted_driver_notices_by_the_first_trial_that_the_other_ended(
    two: tuple[optuna.Study, optuna.Study], elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 60)
    one, other = two
    with sole_driver(one, None, take_over=False, say=pytest.fail):
        trial = one.ask()
        leave_mark(other, host="far")
        other.tell(trial.number, state=TrialState.FAIL)
        with pytest.raises(NadError, match=r"taken over by process .* on host far"):
            one._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0, 1.0])
    assert states(other) == ["FAIL"]


def test_ousted_driver_that_has_not_noticed_ends_no_trial_of_the_other(
    two: tuple[optuna.Study, optuna.Study], elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 60)
    one, other = two
    with sole_driver(one, None, take_over=False, say=pytest.fail):
        old = searcher_of(one)
        old.suggest("a")
        with sole_driver(other, None, take_over=True, say=lambda _sentence: None):
            new = searcher_of(other)
            new.suggest("b")
            old.close()
            assert states(other) == ["FAIL", "RUNNING"], "the point that the old one ran runs again"
            new.on_trial_complete("b", FINAL)
            with pytest.raises(NadError, match="'s' has been taken over by process"):
                old.suggest("c")
    assert states(other) == ["FAIL", "COMPLETE"]


def test_ousted_driver_starts_nothing_though_the_other_has_left(
    two: tuple[optuna.Study, optuna.Study], elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 60)
    one, other = two
    with sole_driver(one, None, take_over=False, say=pytest.fail):
        with sole_driver(other, None, take_over=True, say=lambda _sentence: None):
            pass
        with pytest.raises(NadError, match="'s' has been taken over"):
            searcher_of(one).suggest("a")
    assert states(other) == []


def test_mark_that_an_ousted_driver_makes_late_bars_nobody_else(
    two: tuple[optuna.Study, optuna.Study], elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 60)
    one, other = two
    with sole_driver(one, None, take_over=False, say=pytest.fail):
        late = mark_of(one)
        with sole_driver(other, None, take_over=True, say=lambda _sentence: None):
            one._storage.set_study_system_attr(one._study_id, "driver", {**late, "count": 2})
            play(searcher_of(other))
            assert mark_of(other)["token"] != late["token"]
            with pytest.raises(NadError, match="'s' has been taken over"):
                one.ask()
    assert states(other) == ["COMPLETE"]

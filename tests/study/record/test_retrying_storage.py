from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError
from toys import DIRECTIONS, FINAL, play, searcher_of, states

from nad.errors import NadError
from study.record import retrying_storage
from study.record.retrying_storage import RetryingStorage
from study.record.storage import open_study


def outage() -> StorageInternalError:
    error = StorageInternalError("in vain")
    error.__cause__ = OperationalError("UPDATE trials", {}, Exception("server closed the connection"))
    return error


class Unreliable:
    """A real storage whose named call fails so many times, before or after it was carried out."""

    def __init__(self, inner: Any, name: str, *, times: int, carried_out: bool) -> None:
        self._inner, self._name, self.left, self._carried_out = inner, name, times, carried_out

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        return self._failing(call) if name == self._name else call

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*given: Any, **named: Any) -> Any:
            if self.left == 0:
                return call(*given, **named)
            self.left -= 1
            if self._carried_out:
                call(*given, **named)
            raise outage()

        return attempt


@pytest.fixture(params=["sqlite", "journal"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[optuna.Study, list[str]]:
    said: list[str] = []
    url = request.getfixturevalue("url") if request.param == "sqlite" else f"journal:{tmp_path}/j"
    return open_study(url, "s", "random", 0, DIRECTIONS, said.append), said


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize(
    "call",
    ["create_new_trial", "set_trial_param", "set_trial_state_values", "set_trial_user_attr", "get_all_trials"],
)
def test_trial_is_recorded_once_whatever_call_met_the_outage(
    opened: tuple[optuna.Study, list[str]], call: str, carried_out: bool
) -> None:
    study, said = opened
    searcher = searcher_of(study, wanted=9)
    play(searcher)
    storage: Any = study._storage
    storage.inner = Unreliable(storage.inner, call, times=2 if not carried_out else 1, carried_out=carried_out)
    play(searcher)
    assert states(study) == ["COMPLETE"] * 2
    assert study.trials[1].values == [FINAL["asr"], FINAL["acc"]]
    assert said == [
        "the storage does not answer (server closed the connection); trying again for 5 minutes",
        "the storage answers again; nothing was lost",
    ]


@pytest.mark.parametrize("carried_out", [False, True])
def test_point_that_waits_is_started_once(opened: tuple[optuna.Study, list[str]], carried_out: bool) -> None:
    study, _said = opened
    study.enqueue_trial({"x": 0.25})
    study.enqueue_trial({"x": 0.75})
    storage: Any = study._storage
    storage.inner = Unreliable(storage.inner, "set_trial_state_values", times=1, carried_out=carried_out)
    assert study.ask().number == 0
    assert states(study) == ["RUNNING", "WAITING"]


def test_storage_that_stays_away_is_one_sentence_and_then_nobody_waits_again(url: str) -> None:
    study, said = open_study(url, "s", "random", 0, DIRECTIONS), list[str]()
    inner: Any = Unreliable(study._storage.inner, "set_study_user_attr", times=10**6, carried_out=False)  # type: ignore[attr-defined]
    storage = RetryingStorage(inner, said.append, patience=0.5)
    began = time.monotonic()
    for attempts_follow in (True, False):
        left = inner.left
        with pytest.raises(NadError, match=r"answer for 0\.5 seconds \(server closed .*\); mend that") as caught:
            storage.set_study_user_attr(0, "a", 1)
        assert "\n" not in str(caught.value)
        assert (inner.left < left - 1) == attempts_follow
    assert time.monotonic() - began >= 0.5
    assert len(said) == 1


def test_database_that_another_process_locks_for_a_while_loses_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than the database itself waits."""
    said: list[str] = []
    study = open_study(f"{url}?timeout=0.3", "s", "random", 0, DIRECTIONS, said.append)
    searcher = searcher_of(study, wanted=2)
    searcher.suggest("t")
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(1.5, lambda: other.execute("COMMIT")).start()
    began = time.monotonic()
    searcher.on_trial_complete("t", FINAL)
    assert time.monotonic() - began > 1
    assert states(study) == ["COMPLETE"]
    assert said[0].startswith("the storage does not answer (database is locked); trying again for 5 minutes")
    other.close()


def test_what_does_not_pass_by_itself_is_raised_at_once(url: str) -> None:
    said: list[str] = []
    study = open_study(url, "s", "random", 0, DIRECTIONS, said.append)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as other:
        other.execute("DROP TABLE study_user_attributes")
    with pytest.raises(StorageInternalError) as caught:
        study.set_user_attr("a", 1)
    assert said == [], "nobody waited"
    assert "no such table" in str(caught.value.__cause__)
    assert not retrying_storage.is_outage(caught.value)
    assert not retrying_storage.is_outage(OSError(28, "No space left on device"))
    assert retrying_storage.is_outage(OSError(116, "Stale file handle"))


def test_barred_storage_writes_nothing_and_still_reads(study: optuna.Study) -> None:
    trial = study.ask()
    storage: Any = study._storage
    storage.barred = "another one has it"
    for write in (
        study.ask,
        lambda: trial.set_user_attr("a", 1),
        lambda: study.tell(trial, state=TrialState.FAIL),
    ):
        with pytest.raises(NadError, match="another one has it"):
            write()
    assert states(study) == ["RUNNING"]

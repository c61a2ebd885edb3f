"""Trials across the end of summer time, when local clocks go back by an hour."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.storages._rdb import storage as optuna_rdb
from optuna.storages.journal import _storage as optuna_journal
from toys import DIRECTIONS, METRICS, fine_space, play

from study.commands import show
from study.commands.overview import Overview
from study.record import exports
from study.record.driver import Driver
from study.record.folder import StudyFolder
from study.record.storage import open_study
from study.search import searcher, times
from study.search.searcher import OptunaSearcher

END_OF_SUMMER = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)
"""03:00 in Berlin, which becomes 02:00."""


class Clock:
    """The time of day and the monotonic clock, both moved by hand."""

    def __init__(self, start: datetime) -> None:
        self.time, self.passed = start, 0.0

    def now(self, tz: object = None) -> datetime:
        return (
            self.time.astimezone(tz) if tz is not None else self.time.astimezone().replace(tzinfo=None, fold=self._fold)
        )

    @property
    def _fold(self) -> int:
        return int(END_OF_SUMMER <= self.time < END_OF_SUMMER + timedelta(hours=1))

    def monotonic(self) -> float:
        return self.passed

    def wait(self, minutes: float) -> None:
        self.time += timedelta(minutes=minutes)
        self.passed += 60 * minutes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Berlin at 02:45, a quarter of an hour before summer time ends; all modules that ask for the time see it."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    clock = Clock(END_OF_SUMMER - timedelta(minutes=15))
    shown = SimpleNamespace(now=clock.now, fromisoformat=datetime.fromisoformat)
    for module in (searcher, show, optuna_rdb, optuna_journal):
        monkeypatch.setattr(module, "datetime", shown)
    monkeypatch.setattr(searcher, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(searcher._Running, "__init__", _running_by(clock))
    yield clock
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def _running_by(clock: Clock):
    init = searcher._Running.__init__
    return lambda self, *given, **named: init(self, *given, **named, asked=clock.monotonic())


def searcher_on(study: optuna.Study, wanted: int = 3) -> OptunaSearcher:
    return OptunaSearcher(study, fine_space, METRICS, wanted, seed=5)


def overview(tmp_path: Path, study: optuna.Study, started: datetime) -> Overview:
    driver = Driver.current()
    object.__setattr__(driver, "started", started.isoformat(timespec="seconds"))
    trials = study.get_trials()
    done = sum(trial.state.is_finished() for trial in trials)
    return Overview(StudyFolder(tmp_path), {"trials": 5}, {}, driver, {"complete": done}, trials, ())


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_times_across_the_end_of_summer_time_are_right(clock: Clock, url: str, tmp_path: Path, kind: str) -> None:
    started = clock.time
    study = open_study(url if kind == "sqlite" else f"journal:{tmp_path}/j", "s", "random", 0, DIRECTIONS)
    searcher = searcher_on(study)
    searcher.suggest("slow")
    searcher.suggest("quick")
    clock.wait(minutes=5)
    searcher.on_trial_complete("quick", {"final": True, "asr": 0.5, "acc": 0.5})
    clock.wait(minutes=10)  # 02:00 again
    looked_at = overview(tmp_path, study, started)
    assert "trial 0 runs for 15 min" in "\n".join(show.lines(looked_at))
    searcher.on_trial_complete("slow", {"final": True, "asr": 0.5, "acc": 0.5})
    table = exports.trials_table(study)
    assert table["seconds"].tolist() == [900, 300]
    assert [datetime.fromisoformat(text) for text in table["started"]] == [started, started]
    assert show.eta(overview(tmp_path, study, started)) == pytest.approx(3 * 15 * 60 / 2)
    quick, slow = sorted(study.trials, key=times.ended)
    assert (quick.number, slow.number) == (1, 0)


def test_record_of_an_earlier_version_has_no_negative_times(clock: Clock) -> None:
    """Its local times, without their offsets, are all there is of a trial that was lost."""

    def lost(attrs: dict[str, object]) -> optuna.trial.FrozenTrial:
        trial = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=attrs)
        trial.datetime_start, trial.datetime_complete = datetime(2026, 10, 25, 2, 45), datetime(2026, 10, 25, 2, 0)
        return trial

    assert times.seconds(lost({})) == 900
    assert times.seconds(lost({"started": "2026-10-25T00:45:00+00:00"})) == 900
    assert times.seconds(lost({"started": "2026-10-25T00:45:00+00:00", "seconds": 880.5})) == 880.5
    assert times.ended(lost({})) == END_OF_SUMMER


def test_trial_that_runs_has_no_duration(study: optuna.Study) -> None:
    study.ask()
    assert times.seconds(study.trials[0]) is None
    assert exports.trials_table(study)["seconds"].tolist() == [None]
    play(searcher_on(study))
    assert exports.trials_table(study)["seconds"].dropna().between(0, 60).all()

from typing import Never

import optuna
import pytest

from study.record.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: time[0])
    return time


def test_stages_add_up_over_runs(now: list[float]) -> None:
    study = optuna.create_study()
    for seconds in (5.0, 7.0):
        clock = Clock(study, started=now[0])
        clock.set("victim", 100.0)
        with clock.stage("trials"):
            now[0] += seconds
        now[0] += 1.0
        clock.read()
    expected = {"victim": 100.0, "teachers": 0.0, "trials": 12.0, "baselines": 0.0, "confirmation": 0.0, "total": 14.0}
    assert Clock(study, started=now[0]).read() == expected
    assert study.user_attrs["seconds"] == expected


def test_reading_in_the_middle_of_a_stage_counts_nothing_twice(now: list[float]) -> None:
    clock = Clock(optuna.create_study(), started=now[0])
    with clock.stage("trials"):
        now[0] += 2.0
        assert clock.read()["trials"] == 2.0
        now[0] += 3.0
    assert clock.read() == clock.read()
    assert clock.read()["trials"] == 5.0


def test_a_stage_that_fails_still_counts(now: list[float]) -> None:
    def failing(clock) -> Never:
        with clock.stage("teachers"):
            now[0] += 4.0
            raise ValueError("x")

    clock = Clock(optuna.create_study(), started=now[0])
    with pytest.raises(ValueError, match="x"):
        failing(clock)
    assert clock.read()["teachers"] == 4.0

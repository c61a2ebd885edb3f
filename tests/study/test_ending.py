"""How a study ends that cannot go on: by the first thing that went wrong, in one sentence."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from nad.errors import ConfigError, NadError
from study import run
from study.searching import tuning
from study.signals import Interrupted
from study.workers.lifeline import RayLost

OUT_OF_REACH = NadError("the storage did not answer for 5 minutes")


def is_out_of_reach(*_arguments: Any) -> None:
    raise OUT_OF_REACH


class Searcher:
    """One whose record cannot be closed."""

    close = staticmethod(is_out_of_reach)

    def raise_if_failing(self) -> None:
        pytest.fail("there is an error already")


def lose_ray(bridge: tuning._Bridge) -> None:
    bridge.error = RayLost("Ray's head node no longer answers")


def interrupt(bridge: tuning._Bridge) -> None:
    bridge.interruption.signal = signal.SIGTERM


def refuse(_bridge: tuning._Bridge) -> None:
    raise ConfigError("no node can hold a trial")


@pytest.mark.parametrize(
    ("happens", "error"), [(lose_ray, RayLost), (interrupt, Interrupted), (refuse, ConfigError), (id, NadError)]
)
def test_search_ends_by_what_went_wrong_first_and_not_by_the_record_that_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[tuning._Bridge], object], error: type[BaseException]
) -> None:
    monkeypatch.setattr(tuning, "available_slots", lambda *_size: 1)
    monkeypatch.setattr(tuning, "_trainable", lambda *_arguments: None)
    monkeypatch.setattr(tuning, "_fit", lambda _trainable, bridge, *_others: happens(bridge))
    with pytest.raises(error) as caught:
        tuning.run_trials(lambda *_arguments: None, Searcher(), slots=1)  # type: ignore[arg-type]
    assert caught.type is error


class Files:
    """Those of a study whose record is out of reach."""

    write = staticmethod(is_out_of_reach)


@pytest.mark.parametrize("error", [RayLost("Ray's head node no longer answers"), Interrupted(signal.SIGTERM)])
def test_study_ends_by_what_went_wrong_first_and_not_by_its_files(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, run.recorded(None, Files()):  # type: ignore[arg-type]
        raise error
    assert caught.value is error


def test_study_whose_files_cannot_be_written_says_so() -> None:
    with pytest.raises(NadError) as caught, run.recorded(None, Files()):  # type: ignore[arg-type]
        pass
    assert caught.value is OUT_OF_REACH

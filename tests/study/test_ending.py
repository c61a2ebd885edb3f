"""How a study ends that cannot go on: by the first thing that went wrong, in one sentence."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from ray.exceptions import ObjectStoreFullError, RayError
from toy_engine import SLOTS, open_toy, searcher_of, states, toy

from nad.errors import ConfigError, NadError
from study import run
from study.engine import session, tune
from study.engine.lifeline import RayLost
from study.signals import Interrupted, stopped_at_once
from study.stages import sequence

OUT_OF_REACH = NadError("the storage did not answer for 5 minutes")


def is_out_of_reach(*_arguments: Any) -> None:
    raise OUT_OF_REACH


class Searcher:
    """One whose record cannot be closed."""

    close = staticmethod(is_out_of_reach)

    def raise_if_failing(self) -> None:
        pytest.fail("there is an error already")


def lose_ray(bridge: tune._Bridge) -> None:
    bridge.error = RayLost("Ray's head node no longer answers")


def interrupt(bridge: tune._Bridge) -> None:
    bridge.interruption.signal = signal.SIGTERM


def refuse(_bridge: tune._Bridge) -> None:
    raise ConfigError("no node can hold a trial")


@pytest.mark.parametrize(
    ("happens", "error"), [(lose_ray, RayLost), (interrupt, Interrupted), (refuse, ConfigError), (id, NadError)]
)
def test_search_ends_by_what_went_wrong_first_and_not_by_the_record_that_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[tune._Bridge], object], error: type[BaseException]
) -> None:
    monkeypatch.setattr(tune, "available_slots", lambda *_size: 1)
    monkeypatch.setattr(tune, "_trainable", lambda *_arguments: None)
    monkeypatch.setattr(tune, "_Scheduler", lambda *_arguments: None)
    monkeypatch.setattr(tune, "_fit", lambda _trainable, bridge, *_others: happens(bridge))
    with pytest.raises(error) as caught:
        tune.run_trials(lambda *_arguments: None, Searcher(), slots=1)  # type: ignore[arg-type]
    assert caught.type is error


class Files:
    """Those of a study whose record is out of reach."""

    write = staticmethod(is_out_of_reach)


@pytest.mark.parametrize("error", [RayLost("Ray's head node no longer answers"), Interrupted(signal.SIGTERM)])
def test_study_ends_by_what_went_wrong_first_and_not_by_its_files(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, sequence.recorded(None, Files()):  # type: ignore[arg-type]
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [RayLost("Ray's head node no longer answers"), Interrupted(signal.SIGTERM)])
def test_study_that_ends_early_leaves_files_that_agree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    made = []
    monkeypatch.setattr(sequence.product, "write_card", lambda _folder, summary: made.append(summary))
    monkeypatch.setattr(sequence, "build", made.append)
    files, folder = SimpleNamespace(write=lambda: "summary"), SimpleNamespace(path=tmp_path)
    with pytest.raises(type(error)), sequence.recorded(folder, files):  # type: ignore[arg-type]
        raise error
    assert made == ["summary", tmp_path]


@pytest.mark.parametrize(("signals", "written"), [(1, True), (2, False)])
def test_files_are_written_though_a_second_signal_comes_meanwhile_but_not_against_a_third(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signals: int, written: bool
) -> None:
    """As `nad-study stop --now` sends one, a second after the first."""
    made = []

    def write() -> str:
        for _ in range(signals):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        return "summary"

    def first_signal() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    monkeypatch.setattr(sequence.product, "write_card", lambda _folder, summary: made.append(summary))
    monkeypatch.setattr(sequence, "build", made.append)
    files, folder = SimpleNamespace(write=write), SimpleNamespace(path=tmp_path)
    with pytest.raises(Interrupted), stopped_at_once(), sequence.recorded(folder, files):  # type: ignore[arg-type]
        first_signal()
    assert made == (["summary", tmp_path] if written else [])


def test_study_whose_files_cannot_be_written_says_so() -> None:
    with pytest.raises(NadError) as caught, sequence.recorded(None, Files()):  # type: ignore[arg-type]
        pass
    assert caught.value is OUT_OF_REACH


def full_disk() -> StorageInternalError:
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = OSError("database or disk is full\nand more")
    return error


def no_memory() -> Exception:
    """What torch raises on a processor."""
    try:
        torch.empty(1 << 62, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("there was enough")


def test_mistake_of_this_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(run, "run", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run.main([])


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (full_disk(), "the study's record cannot be written (database or disk is full); mend that and run the same"),
        (
            UpdateFinishedTrialError("Trial#1 has already finished and can not be updated."),
            "another process writes to this study's record (Trial#1 has already finished and can not be updated.); end",
        ),
        (MemoryError(), "there is not enough memory; run fewer --workers or a smaller --model, then run the same"),
        (no_memory(), "there is not enough memory; run fewer --workers"),
    ],
)
def test_error_that_nobody_put_into_words_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, sentence: str
) -> None:
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(run, "run", fail)
    assert run.main([]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {sentence}")
    assert shown.count("\n") == 1


# what Ray and Tune raise of themselves


class Actor:
    def read(self) -> int:
        return 1


def test_error_of_ray_is_one_sentence(ray_started: None) -> None:
    actor: Any = ray.remote(num_cpus=0)(Actor).remote()
    ray.kill(actor)
    sentence = r"^Ray failed \(ActorDiedError: .*\); mend that, and run the same command"
    with pytest.raises(NadError, match=sentence) as caught, session.ray_session(cpus=1):
        ray.get(actor.read.remote())
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RayError)


def test_object_store_without_room_is_one_sentence(ray_started: None) -> None:
    sentence = r"^Ray failed \(ObjectStoreFullError: .*\); free some memory and disk space"
    with pytest.raises(NadError, match=sentence), session.ray_session(cpus=1):
        raise ObjectStoreFullError("Failed to put object 1 in object store because it is full.")


def test_error_of_tune_is_one_sentence_and_the_record_is_in_order(
    ray_started: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> None:
        raise OSError("its error file is not there")

    monkeypatch.setattr(tune._Scheduler, "on_trial_error", fail)
    study = open_toy(tmp_path)
    with pytest.raises(NadError, match=r"^Ray Tune failed \(OSError: its error file is not there\); mend that"):
        tune.run_trials(toy, searcher_of(study, wanted=2), payload={"plan": {0: "raise"}}, slots=SLOTS)
    assert "RUNNING" not in states(study)

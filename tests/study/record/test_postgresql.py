"""A record in a real PostgreSQL server, which goes away and comes back. Needs its programs and the package psycopg."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from postgresql import PASSWORD, Server, binaries, running_server
from studies import refused, summary
from toys import DIRECTIONS, FINAL, play, play_all, searcher_of, states

from nad.errors import ConfigError, NadError
from study.record.heartbeat import sole_driver
from study.record.storage import close_study, open_study
from study.run import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason='needs python -m pip install "psycopg[binary]"')
    programs = binaries()
    if programs is None:
        pytest.skip("needs the programs of a PostgreSQL server, such as Debian's package postgresql")
    with running_server(programs) as server:
        yield server


@pytest.fixture
def open_toy(server: Server) -> Iterator[Callable[..., optuna.Study]]:
    """Opens a study; closed when the test ends."""
    opened: list[optuna.Study] = []

    def open_toy(name: str, said: list[str] | None = None) -> optuna.Study:
        opened.append(open_study(server.url, name, "random", 0, DIRECTIONS, [].append if said is None else said.append))
        return opened[-1]

    yield open_toy
    for study in opened:
        close_study(study)


def test_server_that_restarts_in_mid_study_loses_nothing(server: Server, open_toy: Callable[..., optuna.Study]) -> None:
    said: list[str] = []
    searcher = searcher_of(open_toy("restart", said), wanted=4)
    play(searcher)
    assert searcher.suggest("a") is not None
    assert searcher.suggest("b") is not None
    server.stop()
    threading.Timer(3, server.start).start()
    began = time.monotonic()
    searcher.on_trial_complete("a", FINAL)
    assert time.monotonic() - began > 2, "it was away when the trial ended"
    searcher.on_trial_complete("b", FINAL)
    play_all(searcher)
    assert states(open_toy("restart", said)) == ["COMPLETE"] * 4
    assert [sentence.partition(" (")[0] for sentence in said] == [
        "the storage does not answer",
        "the storage answers again; nothing was lost",
    ]


def test_server_that_restarts_between_two_trials_is_not_even_noticed(
    server: Server, open_toy: Callable[..., optuna.Study]
) -> None:
    said: list[str] = []
    searcher = searcher_of(open_toy("between", said), wanted=2)
    play(searcher)
    server.stop()
    server.start()
    play(searcher)
    assert said == []


def test_server_that_stays_away_ends_the_study_and_the_next_run_goes_on(
    server: Server, open_toy: Callable[..., optuna.Study]
) -> None:
    study = open_toy("away")
    study._storage._patience = 1.0  # type: ignore[attr-defined]
    searcher = searcher_of(study, wanted=3)
    play(searcher)
    searcher.suggest("a")
    server.stop()
    with pytest.raises(NadError, match="the storage did not answer for 1 seconds"):
        searcher.on_trial_complete("a", FINAL)
    with pytest.raises(NadError, match="did not answer"):
        searcher.close()
    with pytest.raises(ConfigError, match="cannot open the study's storage") as caught:
        open_toy("away")
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    server.start()
    play_all(searcher_of(open_toy("away"), wanted=3))
    assert states(open_toy("away")) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_two_drivers_of_one_database_are_told_apart(open_toy: Callable[..., optuna.Study]) -> None:
    with (
        sole_driver(open_toy("two"), None, take_over=False, say=pytest.fail),
        pytest.raises(ConfigError, match="'two' is being run by process"),
        sole_driver(open_toy("two"), None, take_over=False, say=pytest.fail),
    ):
        pass


@pytest.mark.usefixtures("ray_started")
def test_study_in_a_database_from_end_to_end(
    server: Server, options: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [*options, "--storage", server.url, "--name", "s"]
    assert main([*command, "--trials", "4", "--output", str(tmp_path / "a")]) == 0
    assert main([*command, "--trials", "6", "--output", str(tmp_path / "a")]) == 0
    folder = tmp_path / "a" / "s"
    assert summary(folder)["trials"] == {"complete": 6, "failed": 0, "pruned": 0, "running": 0}
    assert not (folder / "study.db").exists()
    sentence = refused(capfd, *command, "--output", str(tmp_path / "b"))
    assert f"already has a study 's' of the folder {folder}" in sentence
    assert "seed 0 (now 5)" in refused(capfd, *command, "--seed", "5", "--output", str(tmp_path / "a"))
    assert main([*command, "--trials", "6", "--output", str(tmp_path / "b"), "--take-over"]) == 0
    assert summary(tmp_path / "b" / "s")["front"] == summary(folder)["front"]
    shown = "".join(capfd.readouterr())
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        assert PASSWORD.encode() not in file.read_bytes(), file
    assert PASSWORD not in shown

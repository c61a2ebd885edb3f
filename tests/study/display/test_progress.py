import io
import re

import optuna
import pytest
from rich.console import Console

from study.display.progress import Display, Eta, TrialBoard
from study.search.trial_event import TrialEvent


def event(kind, number, **scores):
    return TrialEvent(kind, number, {}, scores)


def test_board_follows_the_events() -> None:
    board = TrialBoard()
    for happened in (
        event("started", 0),
        event("started", 1),
        event("progress", 0, asr=0.5, acc=0.5),
        event("complete", 0, asr=0.2, acc=0.7),
        event("failed", 1),
        event("started", 2),
        event("complete", 2, asr=0.1, acc=0.6),
        event("started", 3),
        event("complete", 3, asr=0.3, acc=0.65),
        event("started", 4),
    ):
        board.on_event(happened)
    assert board.done == 3
    assert str(board) == "1 running, 1 failed, front 2, best ASR 10.0%, best ACC 70.0%"


def test_pruned_trials_count_as_done_and_are_named() -> None:
    board = TrialBoard()
    for happened in (
        event("started", 0),
        event("complete", 0, asr=0.2, acc=0.7),
        event("started", 1),
        event("pruned", 1),
    ):
        board.on_event(happened)
    assert board.done == 2
    assert str(board) == "0 running, 0 failed, 1 pruned, front 1, best ASR 20.0%, best ACC 70.0%"


def test_board_of_a_resumed_study_knows_its_earlier_trials() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.add_trial(optuna.create_trial(values=[0.4, 0.8]))
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.FAIL))
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.PRUNED))
    assert TrialBoard.of(study).done == 2


def shown(terminal: bool, steps: int) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with Display(console).stage("victim", "epochs", lambda: "all well") as step:
        for done in range(steps + 1):
            step(done, steps)
    return console.file.getvalue()


def test_plain_lines_have_no_control_characters_and_end_with_the_last_step() -> None:
    text = shown(terminal=False, steps=500)
    assert "\x1b" not in text
    assert text.splitlines()[-1] == "victim: 500/500 epochs, all well"
    assert len(text.splitlines()) < 10


def test_live_line_shows_the_state_in_a_terminal() -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(terminal=True, steps=3))
    assert "victim" in text
    assert "3/3" in text
    assert "all well" in text


def test_what_is_under_way_is_shown_and_counts_for_the_eta(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    console = Console(file=io.StringIO(), width=120)
    with Display(console).stage("baselines", "runs") as step:
        step(1, 3)
        now = 60.0
        step(1, 3, [0.31, 0.19])
        now = 120.0
        step(2, 3)
    assert console.file.getvalue().splitlines() == [
        "baselines: 1/3 runs",
        "baselines: 1/3 runs, 2 under way (25% done), ETA 3:00",
        "baselines: 2/3 runs, ETA 2:00",
    ]


def test_live_line_counts_what_is_done_and_says_what_is_under_way() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Display(console).stage("baselines", "runs", lambda: "all well") as step:
        step(1, 3, [0.9, 0.5])
    assert "1/3 runs  all well, 2 under way (70% done)" in console.file.getvalue()


def test_eta_follows_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    eta = Eta()
    assert eta.text(4, 10) == ""
    now = 130.0
    assert eta.text(6, 10) == "ETA 1:00"
    assert eta.text(10, 10) == ""
    now = 30 * 3600.0
    assert re.fullmatch(r"ETA \d+:\d\d:\d\d", eta.text(7, 10))

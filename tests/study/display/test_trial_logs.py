"""Logs per trial and of the driver: what they hold, whose they are, and that they stop nothing."""

import re
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from rich.console import Console
from toys import FINAL, searcher_of

from study.display.progress import Display
from study.display.trial_logs import DriverLog, TrialLogs, log_of
from study.engine.printed import MOST, Printed
from study.search.queue import repair
from study.search.trial_event import TrialEvent

ROOT = Path(__file__).parents[3]


@pytest.fixture
def logs(tmp_path: Path) -> TrialLogs:
    return TrialLogs(tmp_path / "logs")


def log(tmp_path, number=0):
    return log_of(tmp_path / "logs", number).read_text()


def test_log_tells_a_trial_from_its_seed_to_its_scores(
    logs: TrialLogs, tmp_path: Path, study: optuna.study.Study
) -> None:
    searcher = searcher_of(study, on_event=logs)
    config = searcher.suggest("t")
    for epoch in (1, 2):
        searcher.on_trial_result("t", {"epoch": epoch, "asr": 0.5 / epoch, "acc": 0.8})
    searcher.on_trial_result("t", {**FINAL, "host": "node-7", "loss": 0.25, "printed": "hello\nworld\n"})
    searcher.on_trial_complete("t")
    head, params, first, second, end, scores, printed, *text = log(tmp_path).splitlines()
    assert head.startswith(f"trial 0: seed {config['seed']}, draw 0, started 20")
    assert params == f"  x = {config['setting']['x']}"
    assert (first, second) == ("epoch 1, asr 0.5, acc 0.8", "epoch 2, asr 0.25, acc 0.8")
    assert end == "complete"
    assert scores == "  asr 0.1, acc 0.9, host node-7, loss 0.25"
    assert (printed, text) == ("printed:", ["  hello", "  world"])
    assert log_of(tmp_path / "logs", 0).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700


def test_log_says_that_a_trial_was_asked_again_and_measures_nothing_of_it(
    logs: TrialLogs, tmp_path: Path, study: optuna.study.Study
) -> None:
    study.ask()
    repair(study)
    searcher = searcher_of(study, on_event=logs)
    searcher.suggest("t")
    searcher.on_trial_complete("t", FINAL)
    head, *_rest, end, scores = log(tmp_path, 1).splitlines()
    assert ", restart 1, " in head
    assert (end, scores) == ("complete", "  asr 0.1, acc 0.9")


def test_failed_trial_has_its_reason_and_its_traceback(
    logs: TrialLogs, tmp_path: Path, study: optuna.study.Study
) -> None:
    searcher = searcher_of(study, on_event=logs)
    searcher.suggest("t")
    searcher.on_trial_complete("t", {"error": "ValueError: no", "traceback": "Traceback:\n  File x\nValueError: no"})
    assert "failed: ValueError: no\n" in log(tmp_path)
    assert "traceback:\n  Traceback:\n    File x\n  ValueError: no\n" in log(tmp_path)


def test_pruned_trial_says_why(logs: TrialLogs, tmp_path: Path, study: optuna.study.Study) -> None:
    searcher = searcher_of(study, on_event=logs)
    searcher.suggest("t")
    searcher.on_trial_complete("t", {"pruned": "after 4 of 10 epochs it was behind"})
    assert "pruned: after 4 of 10 epochs it was behind\n" in log(tmp_path)


def test_trial_that_ran_when_the_study_ended_says_so(logs: TrialLogs, tmp_path: Path) -> None:
    logs(TrialEvent("started", 1, {}))
    logs(TrialEvent("started", 2, {}))
    logs(TrialEvent("complete", 2, {}, {"asr": 0.1}))
    logs.close()
    assert "stopped: the study ended while this trial ran" in log(tmp_path, 1)
    assert "stopped" not in log(tmp_path, 2)


def test_log_that_cannot_be_written_stops_nothing(tmp_path: Path, study: optuna.study.Study) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    logs = TrialLogs(tmp_path / "logs")
    searcher = searcher_of(study, on_event=logs)
    searcher.suggest("t")
    searcher.on_trial_complete("t", FINAL)
    logs.close()
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"]


def test_driver_log_has_what_was_said_with_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(Console())
    display.log = DriverLog(tmp_path / "driver.log")
    display.say("two\nlines")
    with display.stage("victim", "epochs") as step:
        for done in (0, 1, 2, 2):
            step(done, 2)
    display.trial(TrialEvent("complete", 4, {}, {"asr": 0.125, "acc": 0.5}))
    display.trial(TrialEvent("failed", 5, {}, error="ValueError: no\nmore"))
    display.failed("interrupted", 130)
    text = (tmp_path / "driver.log").read_text()
    assert re.findall(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 (.*)$", text, re.MULTILINE) == [
        "two lines",
        "victim: 2/2 epochs",
        "trial 4 complete: ASR 12.5%, ACC 50.0%",
        "trial 5 failed: ValueError: no",
        "interrupted",
    ]
    assert (tmp_path / "driver.log").stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().err == "interrupted\n"


def test_what_a_trial_prints_and_warns_of_is_caught() -> None:
    """In a process of its own, for pytest catches warnings itself."""
    script = (
        "import logging, sys, threading, warnings; from study.engine.printed import Printed\n"
        "with Printed() as printed:\n"
        "    print('out'); print('err', file=sys.stderr); logging.getLogger('x').warning('logged')\n"
        "    thread = threading.Thread(target=lambda: warnings.warn('careful')); thread.start(); thread.join()\n"
        "print(printed.report()['printed'].splitlines(), Printed().report())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == "['out', 'err', 'logged', '<string>:4: UserWarning: careful'] {}\n"


def test_only_the_end_of_much_printing_is_kept() -> None:
    with Printed() as printed:
        print("a" * MOST)
        print("the end")
    assert len(printed.report()["printed"]) == MOST
    assert printed.report()["printed"].endswith("the end\n")

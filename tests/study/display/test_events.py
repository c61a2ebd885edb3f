"""What programs see of a study: one JSON object a line, whatever happens."""

import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any, Never

import numpy as np
import pytest
from processes import wait_until
from studies import refused

from nad.errors import NadError
from study import run
from study.display.events import EventLines
from study.search.trial_event import TrialEvent

ROOT = Path(__file__).parents[3]


def lines(text):
    def refuse(constant) -> Never:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.fixture
def file() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def events(file: io.StringIO) -> EventLines:
    return EventLines(file)


def test_every_event_has_its_kind_and_its_time(events: EventLines, file: io.StringIO, tmp_path: Path) -> None:
    events.begin("s", tmp_path, 4)
    events.say("a sentence\nof two lines")
    with events.stage("victim", "epochs") as step:
        for done in range(4):
            step(done, 3)
    with events.stage("baselines", "runs") as step:
        step(1, 2, [0.5])
    events.finished(tmp_path / "report.html")
    found = lines(file.getvalue())
    assert [event.pop("event") for event in found] == ["study", "say", "stage", "stage", "stage", "finished"]
    assert all(event.pop("time").endswith("+00:00") for event in found)
    assert found == [
        {"study": "s", "folder": str(tmp_path), "wanted_trials": 4},
        {"text": "a sentence\nof two lines"},
        {"stage": "victim", "unit": "epochs", "done": 0, "all": 3, "running": []},
        {"stage": "victim", "unit": "epochs", "done": 3, "all": 3, "running": []},
        {"stage": "baselines", "unit": "runs", "done": 1, "all": 2, "running": [0.5]},
        {"report": f"{tmp_path}/report.html", "summary": f"{tmp_path}/summary.json", "exit_code": 0},
    ]


def test_trials_keep_their_numbers_as_numbers(events: EventLines, file: io.StringIO) -> None:
    events.trial(TrialEvent("started", 3, {"beta": np.float64(0.5), "on": True, "layers": (1, 2)}, attrs={"seed": 7}))
    events.trial(TrialEvent("progress", 3, {}, {"epoch": 1, "asr": float("nan"), "acc": np.float32(0.5)}))
    events.trial(TrialEvent("failed", 3, {}, error="the loss is no longer finite\nand more"))
    started, progress, failed = lines(file.getvalue())
    assert started["params"] == {"beta": 0.5, "on": True, "layers": [1, 2]}
    assert started["seed"] == 7
    assert started["error"] is None
    assert progress["scores"] == {"epoch": 1, "asr": None, "acc": 0.5}
    assert failed["error"] == "the loss is no longer finite"


def test_error_is_the_last_line_and_the_sentence_goes_to_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused_as_json(capsys, "--json", "--trials", "0")
    assert sentence.startswith("--trials must be in")


def refused_as_json(capsys, *words):
    capsys.readouterr()
    assert run.main(list(words)) == 2
    shown = capsys.readouterr()
    *_others, last = lines(shown.out)
    assert (last["event"], last["exit_code"]) == ("error", 2)
    assert shown.err == f"error: {last['text']}\n"
    return last["text"]


@pytest.mark.parametrize(
    ("raised", "code"), [(NadError("no"), 2), (OSError(28, "full"), 2), (KeyboardInterrupt(), 130)]
)
def test_every_ending_is_an_event(
    raised: Any, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_arguments, **_options) -> Never:
        raise raised

    monkeypatch.setattr(run, "run", end)
    assert run.main(["--json"]) == code
    (event,) = lines(capsys.readouterr().out)
    assert (event["event"], event["exit_code"]) == ("error", code)


def test_without_the_option_people_get_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert "{" not in refused(capsys, "--trials", "0")


def test_interrupt_in_the_middle_of_a_line_leaves_whole_lines() -> None:
    """The pipe is full when the interrupt comes, so that a write is under way."""
    script = (
        "import sys; from study.display.events import EventLines; shown = EventLines(sys.stdout)\n"
        "try:\n"
        "    while True: shown.say('x' * 999)\n"
        "except KeyboardInterrupt: shown.failed('interrupted', 130)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    with process:
        try:
            wait_until(lambda: asleep_in_a_write(process), seconds=20)
        finally:
            process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        found = lines(process.stdout.read().decode())
        assert process.stderr.read() == b"interrupted\n"
    assert [event["event"] for event in found] == [*["say"] * (len(found) - 1), "error"]


def asleep_in_a_write(process):
    before = in_pipe(process.stdout)
    time.sleep(0.3)
    return before == in_pipe(process.stdout) > 0


def in_pipe(pipe):
    """Bytes that wait to be read."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


@pytest.mark.parametrize("options", [["--json"], []], ids=["events", "lines"])
def test_reader_that_goes_away_does_not_end_the_study(tmp_path: Path, options: Any) -> None:
    script = (
        "import sys, time; from study.display.events import display_for; shown = display_for(sys.argv[2:])\n"
        "for number in range(3): shown.say('x'); time.sleep(0.2)\n"
        "open(sys.argv[1], 'w').write('went on')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "end"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    os.read(process.stdout.fileno(), 1)
    process.stdout.close()
    with process:
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (tmp_path / "end").read_text() == "went on"


@pytest.mark.parametrize("options", [["--json"], []], ids=["events", "a live line"])
def test_closed_terminal_does_not_end_the_study(tmp_path: Path, options: Any) -> None:
    script = (
        "import signal, sys, time; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from study.display.events import display_for; shown = display_for(sys.argv[2:])\n"
        "with shown.stage('trials', 'done') as step: shown.say('x'); step(1, 3); time.sleep(2); step(2, 3)\n"
        "open(sys.argv[1], 'w').write('went on'); sys.exit(shown.failed('interrupted', 129))"
    )
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "end"), *options],
        **dict.fromkeys(("stdin", "stdout", "stderr"), inside),
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(inside)
    os.read(terminal, 1)
    os.close(terminal)
    assert process.wait() == 129
    assert (tmp_path / "end").read_text() == "went on"

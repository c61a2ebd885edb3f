from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from reports.build import main, write_report
from reports.files import ReportError
from reports.study_folder import read_study
from reports.watch import POLL_SECONDS, is_running, trials_so_far, watch

Make = Callable[..., Path]
ROOT = Path(__file__).parents[2]


class Follower:
    """Runs `watch` with steps in place of its pauses; a pause after the last step fails the test."""

    def __init__(self, folder: Path, *steps: Callable[[], object]) -> None:
        self.folder, self.steps, self.lines, self.pauses = folder, list(steps), [], []

    def run(self) -> list[str]:
        watch(self.folder, write_report, self.lines.append, self._wait)
        assert self.steps == []
        return self.lines

    def _wait(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.steps.pop(0)()


def nothing() -> None:
    """A pause in which nothing changes."""


def truncated(make_study: Make, complete: int) -> Callable[[], None]:
    """A step: the study now has this many complete trials of the 22 that it wants."""
    source = make_study(name=f"source-{complete}", count=complete, failing=0)

    def step() -> None:
        for name in ("trials.csv", "summary.json"):
            text = (source / name).read_text()
            if name == "summary.json":
                text = json.dumps({**json.loads(text), "wanted_trials": 22})
            (source.parent / "study" / name).write_text(text)

    return step


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[FileLock]:
    """The study's lock, held as by a process that runs it."""
    (tmp_path / "study").mkdir()
    held = FileLock(tmp_path / "study" / "study.lock")
    held.acquire()
    yield held
    held.release()


def test_each_change_is_one_report_until_the_study_has_ended(make_study: Make, lock: FileLock) -> None:
    folder = make_study()
    few, more, all_ = (truncated(make_study, count) for count in (12, 15, 22))
    few()
    follower = Follower(folder, nothing, more, nothing, all_, nothing, lock.release)
    lines = follower.run()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "12 of 22 trials complete",
        "15 of 22 trials complete",
        "22 of 22 trials complete",
    ]
    assert all(str(folder / "report.html") in line for line in lines)
    assert set(follower.pauses) == {POLL_SECONDS}
    assert POLL_SECONDS == 2.0


def test_a_finished_study_that_nobody_runs_is_reported_once(make_study: Make) -> None:
    assert len(Follower(make_study(), nothing).run()) == 1


def test_a_study_with_trials_still_running_is_not_finished(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary["wanted_trials"] = 5
        rows[-1].update(state="RUNNING")

    class EnoughError(Exception):
        pass

    def stop() -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        Follower(make_study(change=change), nothing, nothing, stop).run()


def test_the_first_trial_is_waited_for(make_study: Make) -> None:
    folder = make_study()
    saved = {name: (folder / name).read_bytes() for name in ("trials.csv", "summary.json")}
    header = saved["trials.csv"].splitlines(keepends=True)[0]
    for name in saved:
        (folder / name).unlink()

    def begin() -> None:
        (folder / "summary.json").write_bytes(saved["summary.json"])
        (folder / "trials.csv").write_bytes(header)

    lines = Follower(
        folder, nothing, begin, lambda: (folder / "trials.csv").write_bytes(saved["trials.csv"]), nothing
    ).run()
    assert "has no trial yet; waiting" in lines[0]
    assert lines[1].endswith("22 of 22 trials complete, 2 failed")
    assert len(lines) == 2


def test_what_a_study_wrote_just_before_it_ended_is_in_the_report(make_study: Make, lock: FileLock) -> None:
    folder = make_study()

    def end() -> None:
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps({**summary, "host": "the last word"}))
        lock.release()

    Follower(folder, nothing, end, nothing).run()
    assert "the last word" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "config.json").unlink(), "is not the folder of a study"),
        (lambda folder: (folder / "trials.csv").write_text("number"), "is cut off"),
        (lambda folder: folder.rename(folder.with_name("gone")), "there is no folder"),
    ],
)
def test_mistakes_end_the_watch(
    make_study: Make, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], sentence: str
) -> None:
    folder = make_study()
    spoil(folder)
    assert main([str(folder), "--watch"]) == 2
    assert sentence in capsys.readouterr().err


def test_a_report_that_cannot_be_written_ends_the_watch(make_study: Make) -> None:
    folder = make_study()
    (folder / "report.html").mkdir()
    with pytest.raises(ReportError, match="it is a folder"):
        Follower(folder).run()


def test_progress_names_every_state_that_there_is(make_study: Make, prune: Any) -> None:
    assert trials_so_far(read_study(make_study())) == "22 of 22 trials complete, 2 failed"
    assert trials_so_far(read_study(make_study(change=prune))) == "20 of 22 trials complete, 2 pruned, 2 failed"


def test_a_study_is_running_while_its_lock_is_held(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with FileLock(tmp_path / "study.lock"):
        assert is_running(tmp_path)
    assert not is_running(tmp_path)
    with FileLock(tmp_path / "study.lock", timeout=0):
        pass


def test_an_unfinished_study_is_never_locked_by_who_watches(
    make_study: Make, lock: FileLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_study()
    truncated(make_study, 12)()
    asked = []
    monkeypatch.setattr("reports.watch.is_running", lambda directory: asked.append(directory) or False)
    Follower(folder, nothing, nothing, truncated(make_study, 22), nothing).run()
    assert asked == [folder]


def test_ctrl_c_ends_the_watch_without_a_traceback_and_without_torch(make_study: Make, lock: FileLock) -> None:
    folder = make_study()
    code = (
        "import sys; from reports.build import main; code = main([sys.argv[1], '--watch']);"
        "heavy = {'torch', 'ray', 'optuna', 'nad', 'study'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        assert "22 of 22 trials complete" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    finally:
        guard.cancel()
    assert (process.returncode, out) == (130, "")
    assert err.startswith("interrupted")
    assert err.count("\n") == 1

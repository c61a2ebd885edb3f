"""Folders for what need not outlive a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_engine import IMPORTABLE

from nad.errors import NadError
from study.engine import scratch
from study.engine.scratch import scratch_folder

HOLD = """
import pathlib, sys, time
from study.engine.scratch import scratch_folder
with scratch_folder(pathlib.Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


def test_folder_is_private_and_goes_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "r").mkdir()
    assert not list(tmp_path.iterdir())


def test_folder_of_a_killed_process_goes_when_the_next_one_starts_and_a_living_one_s_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_YOUNG", -1.0)
    environment = {**os.environ, "PYTHONPATH": IMPORTABLE}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        (tmp_path / "nad-of-somebody-else").mkdir()
        with scratch_folder(tmp_path):
            assert theirs.exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert theirs.exists()
        with scratch_folder(tmp_path):
            assert not theirs.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["nad-of-somebody-else"]


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    missing = pytest.raises(NadError, match=r"cannot make a temporary folder in .*: No such file")
    with missing, scratch_folder(tmp_path / "gone"):
        pass

"""Commands whose output cannot show a character, or goes nowhere."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.streams import show_any_text
from study.options.config import StudyConfig
from study.record.folder import StudyFolder
from study.record.storage import close_study, open_study
from study.record.writing import write_json

NAME = "größe"
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
STREAMS = [
    pytest.param({"PYTHONIOENCODING": "ascii"}, id="ascii"),
    pytest.param({"PYTHONIOENCODING": "latin-1"}, id="latin-1"),
    pytest.param(C_LOCALE, id="C"),
]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of one study, with characters that neither ASCII nor Latin-1 has."""
    folder = StudyFolder(tmp_path / f"{NAME} – ☃" / "s")
    folder.path.mkdir(parents=True)
    config = StudyConfig.of(name="s", output=folder.path.parent)
    write_json(folder.config, {"settings": config.shown(), "directory": str(tmp_path)})
    close_study(open_study(folder.storage_url, "s", "random", 0, ("minimize", "maximize")))
    return folder.path.parent


def call(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[bytes]:
    """A command in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, env=kept | environment, capture_output=True, check=False)


@pytest.mark.parametrize("environment", STREAMS)
def test_what_a_stream_cannot_show_is_replaced(runs: Path, environment: dict[str, str]) -> None:
    shown = call(environment, "study", "show", "s", "--output", str(runs))
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"go on with: nad-study resume" in shown.stdout
    assert shown.stdout.endswith(b"/s\n")


def test_json_is_whole_where_its_names_cannot_be_shown(runs: Path) -> None:
    listed = call({"PYTHONIOENCODING": "ascii"}, "study", "list", "--output", str(runs), "--json")
    [facts] = json.loads(listed.stdout)
    assert facts["folder"] == str(runs / "s")


def test_report_that_is_refused_says_why_in_ascii(runs: Path) -> None:
    refused = call({"PYTHONIOENCODING": "ascii"}, "reports.build", str(runs / "s"))
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"error: ")
    assert b"Traceback" not in refused.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_stream_that_is_closed_is_nobody_s(runs: Path, stream: str) -> None:
    number = {"stdout": 1, "stderr": 2}[stream]
    script = f'exec {number}>&-; exec "$0" -m study show s --output "$1"'
    done = subprocess.run(["sh", "-c", script, sys.executable, str(runs)], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("errors", "shown"),
    [("strict", b"gr??e"), ("surrogateescape", b"gr??e"), ("xmlcharrefreplace", b"gr&#246;&#223;e")],
)
def test_handler_of_errors_that_was_chosen_is_kept(monkeypatch: pytest.MonkeyPatch, errors: str, shown: bytes) -> None:
    into = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(into, "ascii", errors))
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # of no encoding: it takes everything
    show_any_text()
    print(NAME, end="", flush=True)
    assert into.getvalue() == shown

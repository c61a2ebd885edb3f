"""The command's first word, and how soon the commands that only look give their answer."""

import subprocess
import sys
from pathlib import Path

import pytest

from study import __main__ as command

ROOT = Path(__file__).parents[2]


def refused(capsys, *words):
    capsys.readouterr()
    assert command.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_unknown_command_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown command 'shwo'; did you mean 'show'?" in refused(capsys, "shwo", "s")


@pytest.mark.parametrize("words", [["run"], []])
def test_options_without_a_command_are_those_of_a_study(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--trials must be in [1, 1e+06], got 0" in refused(capsys, *words, "--trials", "0")


@pytest.mark.parametrize("name", ["apply", "list", "show", "stop", "resume", "report"])
def test_every_command_says_what_it_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        command.main([name, "--help"])
    assert leaving.value.code == 0
    assert f"usage: nad-study {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["show", "stop", "resume"])
def test_unknown_study_is_refused_with_the_nearest(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for study in ("refool-gtsrb", "badnets-gtsrb"):
        (tmp_path / study).mkdir()
        (tmp_path / study / "config.json").write_text("{}")
    sentence = refused(capsys, name, "refol-gtsrb", "--output", str(tmp_path))
    assert "did you mean 'refool-gtsrb'? known: badnets-gtsrb, refool-gtsrb" in sentence
    assert "there is no study 'x', nor any other" in refused(
        capsys, name, "x", "--output", str(tmp_path / "refool-gtsrb")
    )
    assert "No such file or directory" in refused(capsys, name, "x", "--output", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("words", [["list"], ["show", "s"], ["stop", "s"]])
def test_who_only_looks_waits_for_neither_torch_nor_ray(words: list[str], finished: Path) -> None:
    heavy = ("torch", "ray", "pandas", "plotly")
    loaded = f"print([name for name in {heavy} if name in sys.modules])"
    script = f"import sys; from study.__main__ import main; main(sys.argv[1:]); {loaded}"
    done = subprocess.run(
        [sys.executable, "-c", script, *words, "--output", str(finished.parent)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_report_is_made_by_its_own_command_without_torch_or_ray(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = "print([name for name in ('torch', 'ray') if name in sys.modules])"
    script = f"import sys; from study.__main__ import main; print(main(sys.argv[1:])); {loaded}"
    done = subprocess.run(
        [sys.executable, "-c", script, "report", str(finished)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    made = [str(finished / "report.html"), str(finished / "summary.md")]
    assert done.stdout.splitlines() == [*made, "0", "[]"]
    capsys.readouterr()
    assert command.main(["report", str(finished / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_python_m_study_is_the_same_command(tmp_path: Path) -> None:
    command_line = [sys.executable, "-m", "study", "list", "--output", str(tmp_path)]
    done = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"no studies in {tmp_path}\n"


@pytest.mark.parametrize(
    "words", [["study", "list", "--help"], ["study", "show", "--help"], ["study", "--help"], ["study.run", "--help"]]
)
def test_output_that_nobody_reads_to_the_end_is_no_error(words: list[str]) -> None:
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as started:
        started.stdout.close()
        assert started.stderr.read() == b""
    assert started.returncode == 141

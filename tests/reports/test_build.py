from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports import build as build_module
from reports.build import ReportError, build, main

Make = Callable[..., Path]
ROOT = Path(__file__).parents[2]


def test_the_report_is_written_into_the_folder_for_its_owner_only(make_study: Make) -> None:
    folder = make_study()
    report = build(folder)
    assert report == folder / "report.html"
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [
        "attack.png",
        "config.json",
        "report.html",
        "summary.json",
        "summary.md",
        "trials.csv",
    ]
    assert stat.S_IMODE((folder / "summary.md").stat().st_mode) == 0o600


def test_the_same_folder_gives_the_same_page(make_study: Make) -> None:
    folder = make_study()
    assert build(folder).read_bytes() == build(folder).read_bytes()


def test_a_report_that_cannot_be_built_leaves_the_old_one(make_study: Make) -> None:
    folder = make_study()
    before = build(folder).read_bytes()
    (folder / "summary.json").write_text("{")
    with pytest.raises(ReportError):
        build(folder)
    assert (folder / "report.html").read_bytes() == before


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(
    make_study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_source: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    folder = make_study()
    names = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ReportError, match=r"cannot be written: No space left on device; free some space"):
        build(folder)
    assert sorted(path.name for path in folder.iterdir()) == names


def test_text_that_utf8_cannot_carry_does_not_stop_the_page(make_study: Make) -> None:
    def change(_rows: object, summary: dict[str, object]) -> None:
        summary["study"] = "lone \ud83d surrogate"

    assert "lone ? surrogate" in build(make_study(change=change)).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: folder.rename(folder.with_name("elsewhere")), "there is no folder"),
        (lambda folder: (folder / "summary.json").unlink(), "is not the folder of a study: it has no summary.json"),
        (lambda folder: (folder / "trials.csv").unlink(), "is not the folder of a study: it has no trials.csv"),
        (lambda folder: (folder / "trials.csv").write_text(""), "is cut off"),
        (lambda folder: (folder / "summary.json").write_text('{"study": '), "is not whole JSON"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    make_study: Make, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], sentence: str
) -> None:
    folder = make_study()
    spoil(folder)
    assert main([str(folder)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert printed.err.count("\n") == 1


def test_a_folder_that_may_not_be_read_is_one_sentence(
    make_study: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by its mode, which the superuser is not bound by."""
    folder = make_study()

    def refuse(_folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder / "summary.json"))

    monkeypatch.setattr(build_module, "read_study", refuse)
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err == f"error: Permission denied ({folder / 'summary.json'}); mend that\n"


def test_output_that_nobody_reads_is_no_error(make_study: Make) -> None:
    command = [sys.executable, "-m", "reports.build", str(make_study())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert started.stderr.read() == b""
    assert started.returncode == 141


def test_a_study_without_any_trial_is_refused(make_study: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study()
    table = folder / "trials.csv"
    table.write_text(table.read_text().splitlines(keepends=True)[0])
    assert main([str(folder)]) == 2
    assert "has no trials yet" in capsys.readouterr().err


def renamed(name: str, **facts: Any) -> Callable[[Any, dict[str, Any]], None]:
    return lambda _rows, summary: summary.update(study=name, **facts)


@pytest.fixture
def two(make_study: Make) -> list[str]:
    return [str(make_study(name=name, change=renamed(name))) for name in ("first", "second")]


def test_several_folders_make_one_page_in_the_working_directory(
    two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(two) == 0
    assert capsys.readouterr().out == "comparison.html\n"
    assert stat.S_IMODE((tmp_path / "comparison.html").stat().st_mode) == 0o600
    assert not [path for folder in two for path in Path(folder).iterdir() if path.suffix in {".html", ".md"}]
    assert main([*two, "--output", "other.html"]) == 0
    assert (tmp_path / "other.html").read_bytes() == (tmp_path / "comparison.html").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: folder.rename(folder.with_name("elsewhere")), "there is no folder"),
        (lambda folder: (folder / "summary.json").unlink(), "is not the folder of a study"),
        (lambda folder: (folder / "trials.csv").write_text("".join(_first_line(folder))), "has no trials yet"),
        (lambda folder: _set(folder, wanted_trials=99), "is not finished (22 of 99 wanted trials are complete"),
        (lambda folder: _set(folder, study="first"), "two of these studies are called 'first'"),
    ],
    ids=["no folder", "not a study", "empty", "unfinished", "same name"],
)
def test_a_study_that_cannot_be_compared_is_one_sentence_and_no_page(
    two: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    sentence: str,
) -> None:
    spoil(Path(two[1]))
    output = tmp_path / "page.html"
    assert main([*two, "--output", str(output)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert sentence in printed.err
    assert not output.exists()


def _first_line(folder: Path) -> list[str]:
    return (folder / "trials.csv").read_text().splitlines(keepends=True)[:1]


def _set(folder: Path, **facts: Any) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, **facts}))


def test_an_unfinished_study_is_compared_on_request_and_marked(two: list[str], tmp_path: Path) -> None:
    _set(Path(two[1]), wanted_trials=99)
    output = tmp_path / "page.html"
    assert main([*two, "--unfinished", "--output", str(output)]) == 0
    assert output.read_text().count('class="banner"') == 1


@pytest.mark.parametrize(("where", "reason"), [("nowhere/page.html", "there is no folder"), (".", "it is a folder")])
def test_an_output_that_cannot_be_written_is_one_sentence(
    two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, reason: str
) -> None:
    before = sorted(tmp_path.iterdir())
    assert main([*two, "--output", str(tmp_path / where)]) == 2
    printed = capsys.readouterr().err
    assert f"cannot be written: {reason}" in printed
    assert printed.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("folders", "options", "sentence"),
    [
        (1, ["--output", "x.html"], "--output is for comparing several studies"),
        (1, ["--unfinished"], "--unfinished is for comparing several studies"),
        (2, ["--watch"], "--watch takes one study's folder"),
        (1, ["--watch", "--images", "png"], "--watch makes no images"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(
    two: list[str], capsys: pytest.CaptureFixture[str], folders: int, options: list[str], sentence: str
) -> None:
    assert main([*two[:folders], *options]) == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--nope", "a"], "unrecognized arguments: --nope"),
        ([], "the following arguments are required: DIR"),
        (["a", "--images", "gif"], "argument --images: invalid choice: 'gif' (choose from"),
    ],
)
def test_mistake_in_the_command_line_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {sentence}")
    assert said.endswith("; `nad-study report --help` says more\n")
    assert said.count("\n") == 1


def test_help_says_what_each_option_does_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for part in ("--output FILE", "--unfinished", "--images FORMAT", "--watch", "examples:", "exit code 2"):
        assert part in text


def test_the_command_prints_the_path_and_imports_no_torch(make_study: Make) -> None:
    folder = make_study()
    code = (
        "import sys; from reports.build import main; code = main([sys.argv[1]]);"
        "heavy = {'torch', 'ray', 'optuna', 'nad', 'study'} & set(sys.modules);"
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout == f"{folder / 'report.html'}\n{folder / 'summary.md'}\n"

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reports.build import ReportError, build, main

Make = Callable[..., Path]


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
        "trials.csv",
    ]


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


def test_a_study_without_any_trial_is_refused(make_study: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study()
    table = folder / "trials.csv"
    table.write_text(table.read_text().splitlines(keepends=True)[0])
    assert main([str(folder)]) == 2
    assert "has no trials yet" in capsys.readouterr().err


def test_several_folders_are_refused(make_study: Make, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(make_study()), str(make_study(name="other"))])
    assert stopped.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


def test_the_command_prints_the_path_and_imports_no_torch(make_study: Make) -> None:
    folder = make_study()
    code = (
        "import sys; from reports.build import main; code = main([sys.argv[1]]);"
        "heavy = {'torch', 'ray', 'optuna', 'nad', 'study'} & set(sys.modules);"
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout == f"{folder / 'report.html'}\n"

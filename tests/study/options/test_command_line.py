"""What is wrong with a command line: one sentence with the value and the remedy, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import __main__ as command


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--trails 3", "unknown option '--trails'; did you mean '--trials'? `nad-study --help` says more"),
        ("--trails=3", "unknown option '--trails'; did you mean '--trials'? `nad-study --help` says more"),
        ("--xyz", "unknown option '--xyz'; `nad-study --help` says more"),
        ("run stray", "nothing takes the word 'stray'; `nad-study --help` says more"),
        ("--trials", "--trials needs a whole number; `nad-study --help` says more"),
        ("--trials x", "--trials must be a whole number, got 'x'; `nad-study --help` says more"),
        ("--trials=1.5 --seed 2", "--trials must be a whole number, got '1.5'; `nad-study --help` says more"),
        ("--trials 4 --trials y", "--trials must be a whole number, got 'y'; `nad-study --help` says more"),
        ("--gpus-per-trial x", "--gpus-per-trial must be a number, got 'x'; `nad-study --help` says more"),
        ("--clean-fractions 0.1 a", "--clean-fractions must be numbers, got '0.1 a'; `nad-study --help` says more"),
        ("--clean_fractions a", "--clean-fractions must be numbers, got 'a'; `nad-study --help` says more"),
        ("--data-dir", "--data-dir needs a path; `nad-study --help` says more"),
        (
            "--label-mode foo",
            "--label-mode must be one of all-to-all, clean, dirty, got 'foo'; `nad-study --help` says more",
        ),
        ("list runs", "nothing takes the word 'runs'; `nad-study list --help` says more"),
        ("show", "nad-study show needs NAME; `nad-study show --help` says more"),
        ("show --outptu x", "unknown option '--outptu'; did you mean '--output'? `nad-study show --help` says more"),
        ("stop a --soon", "unknown option '--soon'; `nad-study stop --help` says more"),
        ("resume --output", "--output needs a path; `nad-study resume --help` says more"),
        ("resume", "nad-study resume needs NAME; `nad-study resume --help` says more"),
        ("resume --trials 60 s", "nad-study resume needs the study's NAME first, and --trials after it"),
        ("--victim-mean 0.1 0.2", "--victim-mean must be 3 numbers, got '0.1 0.2'; `nad-study --help` says more"),
        ("apply s --victim . --data d", "--victim '.' names no file; give that of the model"),
        ("apply", "nad-study apply needs SUMMARY, --victim, --data; `nad-study apply --help` says more"),
        ("defend anp --victim", "--victim needs a path; `nad-study defend --help` says more"),
    ],
)
def test_mistake_is_one_sentence(
    line: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(line.split()) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
    assert list(tmp_path.iterdir()) == []


def test_program_that_reads_events_is_told_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["run", "--json", "--trails", "3"]) == 2
    assert "\"unknown option '--trails'; did you mean" in capsys.readouterr().out


def test_option_that_was_mistyped_in_resume_is_named(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["resume", "s", "--output", str(finished.parent), "--trails", "9"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown option '--trails'; did you mean '--trials'? `nad-study")

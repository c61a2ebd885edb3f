"""The list of studies: whole ones, those of other versions, and what is left of broken ones."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest

from study import __main__ as command
from study.record.driver import Driver
from study.record.storage import open_study
from study.search.queue import enqueue


def listed(capsys, output, *options):
    capsys.readouterr()
    assert command.main(["list", "--output", str(output), *options]) == 0
    return capsys.readouterr().out


def line_of(capsys, output, name):
    return next(line for line in listed(capsys, output).splitlines() if line.split()[0] == name)


def snapshot(folder):
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *sorted(folder.rglob("*"))]
    }


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "s")
    return tmp_path / "s"


def change(file, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_finished_study_is_a_line_of_what_it_found(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads((finished / "summary.json").read_text())
    line = line_of(capsys, finished.parent, "s")
    assert line.split()[1:4] == ["badnets", "folder", "6/6"]
    assert "finished" in line
    best = (found["recommended"] or found["front"][0])["validation"]
    assert f"{best['asr']:.1%}" in line
    assert f"{best['acc']:.1%}" in line


def test_list_as_json_has_numbers(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study,) = json.loads(listed(capsys, finished.parent, "--json"))
    summary = json.loads((finished / "summary.json").read_text())
    assert study["study"] == "s"
    assert study["state"] == "finished"
    assert study["left"] is None
    assert study["driver"] is None
    assert study["trials"] == summary["trials"]
    assert study["recommended"] == summary["recommended"]
    assert study["troubles"] == []


def test_looking_changes_nothing(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(finished)
    listed(capsys, finished.parent)
    assert command.main(["show", "s", "--output", str(finished.parent)]) == 0
    assert snapshot(finished) == before


def test_study_with_trials_left_says_how_many(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((copy / "config.json").read_text())
    change(copy / "config.json", settings={**config["settings"], "trials": 9})
    assert "6/9" in line_of(capsys, copy.parent, "s")
    assert "unfinished: 3 trials left" in line_of(capsys, copy.parent, "s")
    change(copy / "summary.json", stopped="stopped by itself after 6 complete trials")
    assert "finished" in line_of(capsys, copy.parent, "s").split()


def test_study_with_fresh_runs_left_says_how_many_whatever_else_was_written_since(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copy / "summary.json", confirmation={"draws": 3, "runs": 20, "done": 12})
    os.utime(copy / "report.html")
    assert "unfinished: 8 runs of the confirmation left" in line_of(capsys, copy.parent, "s")
    change(copy / "summary.json", confirmation={"draws": 3, "runs": 20, "done": 20})
    assert "finished" in line_of(capsys, copy.parent, "s").split()


def test_study_with_a_baseline_left_says_so_before_its_confirmation(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copy / "summary.json", baselines={"runs": 4, "done": 3}, confirmation={"draws": 3, "runs": 20, "done": 12})
    assert "unfinished: 1 run of the baselines left" in line_of(capsys, copy.parent, "s")
    change(copy / "summary.json", baselines={"runs": 4, "done": 4}, confirmation=None)
    assert "finished" in line_of(capsys, copy.parent, "s").split()


def test_study_that_was_asked_for_more_since_its_summary_is_unfinished(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.loads((copy / "config.json").read_text())["settings"]
    change(copy / "config.json", settings={**settings, "confirm": settings["confirm"] + 1})
    assert "unfinished: the confirmation left" in line_of(capsys, copy.parent, "s")
    change(copy / "config.json", settings={**settings, "baselines": ["anp"]})
    assert "unfinished: the baselines left" in line_of(capsys, copy.parent, "s")
    summary = json.loads((copy / "summary.json").read_text())
    older = {name: value for name, value in summary.items() if name not in ("baselines", "confirmation")}
    (copy / "summary.json").write_text(json.dumps(older))
    assert "finished" in line_of(capsys, copy.parent, "s").split(), "an earlier version's lacks the keys"
    (copy / "summary.json").write_text(json.dumps(summary))
    change(copy / "config.json", settings=settings)
    assert "finished" in line_of(capsys, copy.parent, "s").split()


def test_folder_that_may_not_be_read_hides_no_other_and_is_named_when_asked_for(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by its mode, which the superuser is not bound by."""
    theirs, exists = copy.parent / "theirs", Path.exists
    theirs.mkdir()

    def refuse(path, **options):
        if path.parent == theirs:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path, **options)

    monkeypatch.setattr(Path, "exists", refuse)
    assert "finished" in line_of(capsys, copy.parent, "s").split()
    assert command.main(["show", "theirs", "--output", str(copy.parent)]) == 2
    assert f"cannot read the study 'theirs' in {theirs}: Permission denied" in capsys.readouterr().err


def test_study_without_its_report_is_unfinished(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "report.html").unlink()
    assert "unfinished: the report left" in line_of(capsys, copy.parent, "s")


def test_study_without_a_recommended_trial_shows_the_front_in_brackets(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copy / "summary.json", recommended=None)
    front = json.loads((copy / "summary.json").read_text())["front"]
    assert f"({front[0]['validation']['asr']:.1%})" in line_of(capsys, copy.parent, "s")


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (Driver.current().facts(), f"running (host {Driver.current().host}, pid {os.getpid()})"),
        ({"host": "far", "pid": 7, "started": "2026-01-01T00:00:00+00:00"}, "running elsewhere (host far, pid 7)"),
        ({**Driver.current().facts(), "born": "another process"}, "finished"),
    ],
    ids=["here", "elsewhere", "dead"],
)
def test_list_says_who_runs_a_study(driver: Any, expected: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "driver.json").write_text(json.dumps(driver))
    assert expected in line_of(capsys, copy.parent, "s")


def test_killed_study_is_counted_from_its_record(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before its first trial ended there is no summary.json; a database that was not closed has a log beside it."""
    folder = tmp_path / "s"
    folder.mkdir()
    study = open_study(url.replace("/study.db", "/s/study.db"), "s", "random", 0, ["minimize", "maximize"])
    enqueue(study, {}, {"control": "waits"})
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.FAIL))
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.RUNNING))
    assert (folder / "study.db-wal").exists()
    (folder / "config.json").write_text(json.dumps({"settings": {"attack": "refool", "dataset": "x", "trials": 4}}))
    database = {name: (folder / name).read_bytes() for name in ("study.db", "study.db-wal")}
    (found,) = json.loads(listed(capsys, tmp_path, "--json"))
    assert found["trials"] == {"complete": 0, "failed": 1, "pruned": 0, "running": 1}
    assert found["left"] == "4 trials"
    assert {name: (folder / name).read_bytes() for name in database} == database


@pytest.mark.parametrize(
    ("file", "content", "trouble"),
    [
        ("config.json", None, "config.json is missing"),
        ("config.json", "{", "config.json is damaged"),
        ("config.json", "[]", "config.json holds something else"),
        ("summary.json", '{"front": 3, "trials": [], "recommended": "x"}', None),
        ("summary.json", "\x00", "summary.json is damaged"),
    ],
)
def test_broken_study_is_a_line_that_says_so(
    file: str, content: str | None, trouble: str | None, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text(content)
    line_of(capsys, copy.parent, "s")
    (found,) = json.loads(listed(capsys, copy.parent, "--json"))
    assert found["troubles"] == ([trouble] if trouble else [])
    assert command.main(["show", "s", "--output", str(copy.parent)]) == 0


def test_record_that_cannot_be_read_leaves_what_the_files_say(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in copy.glob("study.db*"):
        file.unlink()
    (copy / "study.db").write_text("no database")
    assert command.main(["show", "s", "--output", str(copy.parent)]) == 0
    shown = capsys.readouterr().out
    assert "6 of 6 done" in shown
    assert "file is not a database): these figures are from summary.json" in shown


def test_what_is_left_of_a_study_says_why_it_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "config.json").write_text("")
    (tmp_path / "s" / "study.db").write_text("no database")
    line = line_of(capsys, tmp_path, "s")
    assert "unreadable; config.json is damaged; its record at" in line
    assert "file is not a database" in line
    (tmp_path / "other").mkdir()
    assert "other" not in listed(capsys, tmp_path)

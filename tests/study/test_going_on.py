"""A study that is run again: it goes on, it grows, or it is told why it may not."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Never

import optuna
import pytest
from filelock import FileLock
from studies import refused, scores, summary, table

from reports.analysis import convergence
from study import __main__ as command
from study.display.trial_logs import log_of
from study.engine import tasks
from study.record import files
from study.run import main
from study.search.halving import RUNGS

pytestmark = pytest.mark.usefixtures("ray_started")


def test_same_command_goes_on_and_more_trials_extend(
    options: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "s")
    before = scores(finished)
    assert main([*options, "--trials", "6", "--output", str(tmp_path), "--name", "s"]) == 0
    assert scores(tmp_path / "s") == before
    assert main([*options, "--trials", "8", "--output", str(tmp_path), "--name", "s"]) == 0
    after = scores(tmp_path / "s")
    assert len(after) == 8
    assert before.items() <= after.items()


def test_resume_goes_on_with_the_recorded_settings_and_tells_programs(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s"
    shutil.copytree(finished, folder)
    capsys.readouterr()
    assert command.main(["resume", "s", "--output", str(tmp_path), "--trials", "7", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] | {"time": ""} == {
        "event": "study",
        "time": "",
        "study": "s",
        "folder": str(folder),
        "wanted_trials": 7,
    }
    trial = [event for event in events if event["event"] == "trial"]
    assert [event["number"] for event in trial] == [6] * len(trial)
    assert [event["state"] for event in trial] == ["started", *["progress"] * (len(trial) - 2), "complete"]
    assert events[-1]["event"] == "finished"
    assert summary(folder)["trials"]["complete"] == 7
    assert scores(finished).items() <= scores(folder).items()
    (row,) = table(folder)[lambda rows: rows.number == 6].itertuples()
    assert trial[-1]["scores"] == {"asr": row.asr, "acc": row.acc}
    log = log_of(folder / "logs", 6).read_text()
    assert f"seed {row.seed}" in log
    assert log.count("epoch ") == len(trial) - 2
    assert f"host {row.host}" in log
    assert (folder / "driver.log").read_text().endswith(f"report: {folder}/report.html\n")


def test_study_that_goes_on_with_pruning_counts_what_it_stopped(
    options: list[str], finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    shutil.copytree(finished, folder)
    assert (
        main([*options, "--prune", "--no-portfolio", "--trials", "34", "--output", str(tmp_path), "--name", "s"]) == 0
    )
    counts, rows = summary(folder)["trials"], table(folder)
    assert counts["pruned"] > 0
    assert counts == {"complete": 34 - counts["pruned"], "failed": 0, "pruned": counts["pruned"], "running": 0}
    pruned = rows[rows.state == "PRUNED"]
    assert pruned.control.isna().all()
    for row in pruned.itertuples():
        ran = len(json.loads(row.curve))
        assert row.error.startswith(f"after {ran} of {row.params_epochs} epochs")
        assert ran in RUNGS or "no better than chance" in row.error
    assert not {point["number"] for point in summary(folder)["front"]} & set(pruned.number)
    page = (folder / "report.html").read_text()
    assert f"{counts['pruned']} of 34 trials were pruned" in page
    assert "unfinished" not in page


def test_converged_study_stops_and_says_so_until_the_option_is_left_out(
    options: list[str],
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convergence, "LEAST_SETTINGS", 8)
    shutil.copytree(finished, tmp_path / "s")
    again = [*options, "--trials", "90", "--output", str(tmp_path), "--name", "s"]
    for _ in range(2):
        capsys.readouterr()
        assert main([*again, "--until-converged"]) == 0
        found = summary(tmp_path / "s")
        done = found["trials"]["complete"]
        assert 8 <= done < 90
        assert re.match(r"The study stopped by itself after \d+ settings, because the last", found["stopped"])
        assert found["stopped"] in capsys.readouterr().out
        for file in ("report.html", "summary.md"):
            text = (tmp_path / "s" / file).read_text()
            assert found["stopped"] in text
            assert "unfinished" not in text
    assert main([*again[:-6], "--trials", str(done + 1), *again[-4:]]) == 0
    assert summary(tmp_path / "s")["trials"]["complete"] == done + 1
    assert summary(tmp_path / "s")["stopped"] is None


def test_warm_start_asks_an_earlier_study_s_best_right_after_the_controls(
    options: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = [*options, "--no-portfolio", "--output", str(tmp_path)]
    again = [*plain, "--name", "next", "--warm-start", str(tmp_path / "s")]
    shutil.copytree(finished, tmp_path / "s")
    assert main([*plain, "--trials", "13", "--name", "s"]) == 0
    best = [point["params"] for point in summary(tmp_path / "s")["front"]]
    for trials in ("9", "10"):
        assert main([*again, "--trials", trials]) == 0
        assert "warm start: settings of earlier studies, asked once" in capsys.readouterr().out
    rows = table(tmp_path / "next").sort_values("number")
    controls = int(rows["control"].notna().sum())
    assert list(rows["warm_start"].dropna().unique()) == ["s"]
    warm = rows[rows["warm_start"].notna()]
    assert list(warm["number"]) == list(range(controls, controls + len(warm)))
    params = [name for name in rows if name.startswith("params_")]
    assert not warm.duplicated(params).any()
    control_points = [control["params"] for control in summary(tmp_path / "s")["controls"]]
    for setting in (setting for setting in best if setting not in control_points):
        assert any({name: row[f"params_{name}"] for name in setting} == setting for _, row in warm.iterrows())


def test_confirmation_goes_on_from_a_finished_study_and_is_made_once(
    options: list[str], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"
    shutil.copytree(finished, folder)
    again = [*options, "--trials", "6", "--confirm", "2", "--output", str(tmp_path), "--name", "s"]
    confirmed_in_files = []
    write_json = files.write_json

    def watched(path, content) -> None:
        if "controls" in content:  # summary.json
            confirmed_in_files.append(sum(control["test"] is not None for control in content["controls"]))
        write_json(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", watched)
        assert main(again) == 0
    assert len(set(confirmed_in_files)) > 2, "the files are kept up to date while it runs"
    found = summary(folder)
    assert found["trials"]["complete"] == 6
    assert found["confirmation"]["done"] == found["confirmation"]["runs"] > 0
    for control in found["controls"]:
        assert control["test"]["seeds"] == (1 if control["name"] == "no-defence" else 2)
        assert control["test"]["asr_ci"][0] <= control["test"]["asr"] <= control["test"]["asr_ci"][1]
        assert (control["twin"] is not None) == control["name"].startswith("nad")
    assert found["seconds"]["confirmation"] > 0
    assert "test ASR" in (folder / "report.html").read_text()
    assert all(point["test"]["seeds"] == 2 for point in (found["front"][0], found["front"][-1]))
    monkeypatch.setattr(tasks, "run_tasks", lambda *arguments, **options: pytest.fail("nothing is left to run"))
    assert main(again) == 0
    assert summary(folder)["controls"] == found["controls"]


def test_disk_that_fills_up_during_the_study_loses_nothing(
    options: list[str],
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(finished, tmp_path / "s")

    def full(*_arguments, **_options) -> Never:
        raise OSError(28, "No space left on device", "summary.json")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        assert "No space left on device" in refused(capsys, *options, "--output", str(tmp_path), "--name", "s")
    assert main([*options, "--trials", "6", "--output", str(tmp_path), "--name", "s"]) == 0
    assert scores(tmp_path / "s") == scores(finished)


def test_victim_that_was_lost_and_came_out_otherwise_is_refused(
    options: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s"
    shutil.copytree(finished, folder)
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/study.db")
    study.set_user_attr("victim_sha256", "0" * 64)
    assert main([*options, "--trials", "6", "--output", str(tmp_path), "--name", "s"]) == 2
    assert "was made on the victim 000000000000..., now missing from the cache" in capsys.readouterr().err


def test_resuming_with_other_settings_lists_what_differs(
    options: list[str], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.suffix in (".json", ".csv", ".html")}
    changed = [*options, "--seed", "5", "--space", "fine-tuning", "--output", str(finished.parent), "--name", "s"]
    sentence = refused(capsys, *changed)
    assert "seed 0 (now 5)" in sentence
    assert "space nad (now fine-tuning)" in sentence
    assert "another --name" in sentence
    assert before == {name: (finished / name).read_bytes() for name in before}


def test_second_run_of_a_running_study_is_refused(
    options: list[str], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(finished / "study.lock"):
        sentence = refused(capsys, *options, "--output", str(finished.parent), "--name", "s")
    assert "'s' is being run by another process" in sentence

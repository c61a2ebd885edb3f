from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from earlier_studies import LAYERS, diagonal, point, study_folder
from studies import refused, summary, table

import search_spaces
from nad.errors import ConfigError
from search_spaces import Domain
from study.commands.resume import recorded_settings, with_points_of_the_old
from study.options.config import StudyConfig
from study.record.folder import StudyFolder
from study.run import main
from study.search.fork import fork, fork_of
from study.search.warm_start import fitting


def config_of(output: Path, **changes: Any) -> StudyConfig:
    return StudyConfig.of(**{"output": output, "name": "a", "fork": "b", **changes})


def test_every_complete_point_that_fits_is_asked_and_the_others_are_counted(tmp_path: Path) -> None:
    points = [point(epochs=epochs) for epochs in range(4, 18)] + [point(clean_fraction=0.33), point(epochs=4)]
    study_folder(tmp_path / "a", points, diagonal(16))
    config, found = fork(config_of(tmp_path, trials=99))
    assert (config.study_name, config.directory, config.search.trials) == ("b", tmp_path / "b", 99)
    domain = Domain(LAYERS, (0.05, 0.1), dict.fromkeys(LAYERS, 0.5))
    asked = fitting(found, search_spaces.get("nad"), domain)
    assert [params["epochs"] for _study, params in asked.points] == list(range(4, 18)), "more than a warm start takes"
    assert {study for study, _params in asked.points} == {"a"}
    assert asked.said("fork: settings of the study 'a'") == (
        "fork: settings of the study 'a', asked once after the controls: 14; skipped, unfit for"
        " this study: 1 (1 with clean_fraction 0.33)"
    )


def test_fork_of_a_study_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--fork: there is no study 'a' in .*; name the old one with --name"):
        fork(config_of(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_fork_of_a_study_without_a_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"^--fork: .*a") as caught:
        fork(config_of(tmp_path))
    assert "\n" not in str(caught.value)


def test_fork_onto_itself_is_refused(tmp_path: Path) -> None:
    study_folder(tmp_path / "a", [point()], diagonal(1))
    with pytest.raises(ConfigError, match="--fork 'a' is the study itself"):
        fork(config_of(tmp_path, fork="a"))


@pytest.mark.parametrize("content", ["{}", '{"fork_of": null}', '{"fork_of": "other"}', "{", "[]"])
def test_fork_onto_another_study_is_refused_and_the_same_fork_goes_on(tmp_path: Path, content: str) -> None:
    study_folder(tmp_path / "a", [point()], diagonal(1))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_text(content)
    with pytest.raises(ConfigError, match="--fork 'b': a study of that name exists already and is no fork of 'a'"):
        fork(config_of(tmp_path))
    (tmp_path / "b" / "config.json").write_text(json.dumps({"fork_of": "a"}))
    assert len(fork(config_of(tmp_path))[1]) == 1


def test_fork_that_ended_before_its_search_is_resumed_with_the_old_one_s_points(tmp_path: Path) -> None:
    study_folder(tmp_path / "a", [point()], diagonal(1))
    folder = StudyFolder(tmp_path / "b", None)
    folder.path.mkdir()
    settings = {"trials": 7, "name": "b", "fork": "b"}
    folder.config.write_text(json.dumps({"fork_of": "a", "settings": settings}))
    recorded = recorded_settings(folder)
    again = with_points_of_the_old(recorded, folder)
    assert (again.record.name, again.record.fork, again.search.trials) == ("a", "b", 7)
    config, found = fork(again)
    assert (config.directory, len(found)) == (folder.path, 1)
    for changes in ({"fork": "c"}, {"name": "c"}):
        other = recorded.changed(**changes)
        assert with_points_of_the_old(other, folder) is other, "that is another study, made of this one"
    folder.summary.write_text("{}")
    assert with_points_of_the_old(recorded, folder) is recorded, "they are in its own record"


@pytest.mark.parametrize("name", ["../a", "", "a/b", ".hidden"])
def test_name_that_is_no_folder_of_a_study_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"--fork .* must be letters"):
        StudyConfig.of(fork=name)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_started")
def test_fork_runs_the_old_points_under_new_settings_and_can_be_forked_itself(
    options: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "s")
    old = table(tmp_path / "s")
    before = {file.name: file.read_bytes() for file in (tmp_path / "s").glob("*.csv")}
    there = [*options, "--output", str(tmp_path)]
    more = ["--clean-fractions", "0.1", "0.2", "0.3"]
    assert "--fork NAME to start a new one" in refused(capsys, *there, "--name", "s", *more)
    for trials in ("6", "7"):
        assert main([*there, "--name", "s", *more, "--fork", "t", "--trials", trials]) == 0
    points = old[old.control.isna()]
    said = f"fork: settings of the study 's', asked once after the controls: {len(points)}\n"
    assert capsys.readouterr().out.count(said) == 2
    new = table(tmp_path / "t").sort_values("number")
    controls, asked = int(new.control.notna().sum()), new[new.warm_start.notna()]
    assert list(asked.number) == list(range(controls, controls + len(points)))
    for name in (name for name in old if name.startswith("params_")):
        assert sorted(map(str, asked[name])) == sorted(map(str, points[name]))
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "s").glob("*.csv")}
    assert main([*there, "--name", "t", *more, "--trials", "7"]) == 0
    assert fork_of(tmp_path / "t") == "s", "it stays a fork where it goes on by its own name"
    assert main([*there, "--name", "t", "--fork", "u", "--trials", "6"]) == 0
    assert summary(tmp_path / "u")["trials"]["complete"] == 6
    assert "and is no fork of 'u'" in refused(capsys, *there, "--name", "u", "--fork", "t")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_started")
def test_study_in_a_journal_equals_one_in_the_folder_and_goes_on(
    options: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "shared.log"
    command = [*options, "--storage", f"journal:{journal}", "--output", str(tmp_path), "--name", "s"]
    assert main([*command, "--trials", "4"]) == 0
    with journal.open("ab") as file:
        file.write(b'{"op_code":6,"tri')
    capsys.readouterr()
    assert main([*command, "--trials", "6"]) == 0
    assert "its last 17 bytes were cut off" in capsys.readouterr().out
    named = ["asr", "acc", "seed", "control"]
    assert table(tmp_path / "s")[named][:4].to_dict() == table(finished).sort_values("number")[named][:4].to_dict()
    assert not (tmp_path / "s" / "study.db").exists()

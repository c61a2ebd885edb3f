"""The settings that a study's folder keeps, and the command made from them."""

import json
from pathlib import Path
from typing import Any

import pytest
import tyro

from nad.errors import ConfigError
from study import __main__ as command
from study.commands.resume import options_of, recorded_settings
from study.options.config import StudyConfig
from study.options.search import SearchOptions
from study.record.folder import StudyFolder
from study.record.writing import write_json

CONFIGS = [
    StudyConfig(),
    StudyConfig.of(
        attack="sig",
        attack_args=("frequency=6",),
        poison_rate=0.25,
        label_mode="dirty",
        clean_fractions=(0.1, 0.2),
        time_budget="30m",
        prune=True,
        flip=False,
        confirm=0,
        gpus_per_trial=0.5,
        workers=3,
        warm_start=(Path("/a/b"), Path("/c")),
        baselines=("anp",),
    ),
    StudyConfig.of(
        victim=Path("/v.pt"), victim_mean=(0.1, 0.2, 0.3), victim_std=(1.0, 1.0, 0.5), trust_checkpoint=True
    ),
]


def recorded(folder: Path, config: StudyConfig, **others) -> StudyFolder:
    folder.mkdir()
    settings = {**config.settings, **others.pop("settings", {})}
    write_json(folder / "config.json", {"directory": str(folder.parent / "work"), "settings": settings, **others})
    return StudyFolder(folder)


@pytest.mark.parametrize("config", CONFIGS, ids=["default", "many", "victim"])
def test_options_give_the_config_back(config: Any) -> None:
    assert tyro.cli(StudyConfig, args=options_of(config.settings)) == config


@pytest.mark.parametrize("config", CONFIGS, ids=["default", "many", "victim"])
def test_recorded_settings_are_those_of_the_study_in_its_folder(config: Any, tmp_path: Path) -> None:
    again = recorded_settings(recorded(tmp_path / "s", config)).settings
    assert again == {**config.settings, "output": tmp_path, "name": "s"}


def test_relative_paths_count_from_where_the_study_was_run(tmp_path: Path) -> None:
    config = StudyConfig.of(dataset="folder", data_dir=Path("images"), cache=Path("~/cache"), json=True)
    again = recorded_settings(recorded(tmp_path / "s", config))
    assert again.victim.data_dir == tmp_path / "work" / "images"
    assert again.record.cache == Path("~/cache")
    assert not again.record.json


def test_settings_of_an_older_version_take_the_new_options_defaults(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "s", StudyConfig.of(trials=7))
    config = json.loads(folder.config.read_text())
    write_json(folder.config, {"settings": {"attack": "sig", "trials": config["settings"]["trials"]}})
    again = recorded_settings(folder)
    assert (again.victim.attack, again.search.trials, again.search.space) == ("sig", 7, SearchOptions.space)


def refused(capsys, tmp_path, *options):
    capsys.readouterr()
    assert command.main(["resume", "s", "--output", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_settings_of_a_newer_version_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path / "s", StudyConfig(), settings={"telepathy": True})
    assert "with options unknown to this one: telepathy" in refused(capsys, tmp_path)


def test_settings_that_are_out_of_range_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path / "s", StudyConfig(), settings={"trials": 0})
    assert "--trials must be in [1, 1e+06], got 0" in refused(capsys, tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"settings": 3}'])
def test_damaged_settings_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path / "s", StudyConfig()).config.write_text(text)
    assert "cannot read the settings of the study 's'" in refused(capsys, tmp_path)


def test_options_that_are_given_change_the_recorded_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path / "s", StudyConfig.of(trials=7))
    assert "--workers must be in [1, 4096], got 0" in refused(capsys, tmp_path, "--trials", "9", "--workers", "0")


def test_password_that_was_not_kept_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"--name .*is not stored; give --name again"):
        options_of({"name": "postgresql://me:***@host/db"})

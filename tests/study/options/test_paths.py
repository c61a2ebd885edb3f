"""Paths with ~, also for users without a home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nad.errors import ConfigError
from study.commands.apply import ApplyConfig
from study.commands.overview import find, studies
from study.commands.own_model import read_images, read_model
from study.options.config import StudyConfig
from study.options.paths import NO_HOME, expanded, settle_home
from study.options.storage_url import located
from study.record.folder import cache_folder
from study.search.warm_start import best_first_of
from study.stages.preparation import Preparation
from study.stages.victim_file import read_victim

NOWHERE = Path("~nosuchuser/x")
OWN = {"summary": NOWHERE, "victim": NOWHERE, "data": NOWHERE}


def apply_config() -> ApplyConfig:
    return ApplyConfig(**OWN)


def test_home_folders_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded(Path("~/x"), "--output") == tmp_path / "x"
    assert expanded(Path("x/~"), "--output") == Path("x/~")
    assert expanded(Path(), "--output") == Path()


@pytest.mark.parametrize(
    ("option", "use"),
    [
        ("--output", lambda: StudyConfig.of(output=NOWHERE).directory),
        ("--output", lambda: studies(NOWHERE)),
        ("NAME", lambda: find("~nosuchuser/x", Path("runs"))),
        ("--cache", lambda: cache_folder(NOWHERE)),
        ("--data-dir", lambda: Preparation(StudyConfig.of(data_dir=NOWHERE), Path(), None).load_scenario()),
        ("--victim", lambda: read_victim(StudyConfig.of(victim=NOWHERE), None)),
        ("--reflections", lambda: StudyConfig.of(reflections=NOWHERE)),
        ("--trigger", lambda: StudyConfig.of(attack="custom", trigger=NOWHERE)),
        ("--warm-start", lambda: best_first_of(NOWHERE, "--warm-start")),
        ("--storage", lambda: located("journal:~nosuchuser/x", Path())),
        ("--storage", lambda: located("sqlite:///~nosuchuser/x", Path())),
        ("--victim", lambda: read_model(apply_config(), None)),
        ("--victim", lambda: apply_config().output_file),
        ("--data", lambda: read_images(apply_config(), None, _Silent())),
    ],
)
def test_home_of_an_unknown_user_is_one_sentence(option: str, use: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match=rf"{option} '~nosuchuser/x': there is no home folder ~nosuchuser; write"):
        use()


class _Silent:
    def stage(self, *_given: object) -> _Silent:
        return self

    def __enter__(self) -> Callable[..., None]:
        return lambda *_given: None

    def __exit__(self, *_raised: object) -> None: ...


@pytest.mark.parametrize("home", ["", "relative", None])
def test_home_that_is_no_absolute_path_is_the_user_database_s(
    monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    settle_home()
    assert Path("~").expanduser().is_absolute()


def test_user_without_a_home_is_asked_for_a_cache_and_for_whole_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    settle_home()
    monkeypatch.undo()
    monkeypatch.setenv("HOME", NO_HOME)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(ConfigError, match="no home folder for the cache; name a folder with --cache"):
        cache_folder(None)
    with pytest.raises(ConfigError, match=r"--output '~/x': this user has no home folder; set HOME, or write"):
        expanded(Path("~/x"), "--output")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder(None) == Path("/var/cache/nad-study").resolve()


WITHOUT_USER = """
import os, pwd, runpy, sys
def nobody(_key): raise KeyError("no such user")
pwd.getpwuid = pwd.getpwnam = nobody
sys.argv = ["study", *sys.argv[1:]]
runpy.run_module("study", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("words", "said"), [(["list"], "cannot read the folder runs"), (["run"], "name a folder with --cache")]
)
def test_command_of_a_process_without_home_and_user_ends_in_one_sentence(
    tmp_path: Path, words: list[str], said: str
) -> None:
    command, path = [sys.executable, "-c", WITHOUT_USER, *words], {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=path, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1

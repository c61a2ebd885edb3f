"""What bad input gets: one sentence, exit code 2, nothing lost."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from studies import has_no_trial, refused

from study.commands.overview import studies


def test_warm_start_from_a_folder_without_a_study_is_refused_before_anything_is_made(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = refused(capsys, *options, "--output", str(tmp_path), "--warm-start", str(tmp_path / "none"))
    assert f"--warm-start: there is no folder '{tmp_path}/none'" in sentence
    assert list(tmp_path.iterdir()) == []


def test_target_that_does_not_exist(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(capsys, *options, "--target", "7", "--output", str(tmp_path))
    assert "target label 7 does not exist: folder has the labels 0 to 3" in sentence


def test_weak_backdoor_is_refused_before_any_trial(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = [option for option in options if option != "--allow-weak-backdoor"]
    sentence = refused(capsys, *strict, "--poison-rate", "0.01", "--victim-epochs", "40", "--output", str(tmp_path))
    assert "the backdoor did not take" in sentence
    assert "poison more than 2 of the 135 images that can carry its trigger, train longer, or pass --allow" in sentence
    assert has_no_trial(tmp_path / "badnets-folder")


def test_victim_that_only_answers_the_target_is_refused_before_any_trial(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = [option for option in options if option != "--allow-weak-backdoor"]
    sentence = refused(capsys, *strict, "--poison-rate", "0.74", "--victim-epochs", "2", "--output", str(tmp_path))
    assert "the victim only guesses the clean validation images: its accuracy is" in sentence
    assert "train longer, poison less, or pass --allow" in sentence
    assert has_no_trial(tmp_path / "badnets-folder")


@pytest.mark.parametrize(
    ("attack", "arguments", "sentence"),
    [
        ("badnets", ["--attack-args", "size=600"], "size must be in [1, 512], got 600"),
        ("cl", ["--attack-args", "epsilon=nan"], "epsilon must be in [1, 255], got nan"),
        ("custom", ["--trigger", "none.png"], "cannot read the trigger none.png: No such file or directory"),
        ("custom", ["--trigger", "clear.png"], "the trigger clear.png is transparent everywhere"),
        ("refool", ["--reflections", "none"], "none"),
    ],
)
def test_settings_that_no_image_could_mend_are_refused_before_there_is_a_folder(
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    attack: str,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGBA", (3, 3)).save("clear.png")
    output = tmp_path / "runs"
    assert sentence in refused(capsys, *options, "--attack", attack, *arguments, "--output", str(output))
    assert not output.exists()


@pytest.mark.parametrize(
    ("attack", "arguments", "sentence"),
    [
        ("badnets", ["--poison-rate", "0.0001"], "asks for 0 poisoned images"),
        ("sig", ["--poison-rate", "0.0001"], "asks for 0 poisoned images"),
        ("refool", ["--attack-args", "rounds=2"], "of at least 400; there are 135: give more images"),
    ],
)
def test_attack_that_these_images_are_too_few_for_leaves_no_study(
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    attack: str,
    arguments: list[str],
    sentence: str,
) -> None:
    assert sentence in refused(capsys, *options, "--attack", attack, *arguments, "--output", str(tmp_path))
    assert studies(tmp_path) == []
    assert not list(tmp_path.rglob("config.json")) + list(tmp_path.rglob("study.db"))


def test_settings_can_be_mended_after_a_refusal(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = [option for option in options if option != "--allow-weak-backdoor"]
    refused(capsys, *strict, "--poison-rate", "0.01", "--victim-epochs", "40", "--output", str(tmp_path))
    sentence = refused(capsys, *strict, "--poison-rate", "0.02", "--victim-epochs", "40", "--output", str(tmp_path))
    assert "the backdoor did not take" in sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--attack", "reful"], "unknown attack 'reful'; did you mean 'refool'"),
        (["--reflections", "."], "attack 'badnets' has no setting 'reflections'"),
        (["--clean-fractions", "0.99"], "a clean fraction of 0.99 asks for 198 images"),
        (["--clean-fractions", "0.001"], "clean fraction of 0.001"),
        (
            ["--baselines", "anp", "--baseline-fractions", "0.3"],
            "--baseline-fractions 0.3 is none of the study's clean fractions: give one of 0.1, 0.2",
        ),
        (["--baseline-fractions", "0.1"], "give both, or neither"),
        (["--poison-rate", "0.0001"], "asks for 0 poisoned images"),
        (["--cpus-per-trial", "4000"], "--cpus-per-trial 4000 is more than the "),
        (["--gpus-per-trial", "1"], "torch finds no GPU on this machine"),
    ],
)
@pytest.mark.usefixtures("ray_started")
def test_bad_settings(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    whole_machine = [option for option in options if option not in ("--workers", "1")]
    assert sentence in refused(capsys, *whole_machine, *arguments, "--output", str(tmp_path))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (shutil.rmtree, r"^error: --data-dir \S+: there is no such folder; name one that is there$"),
        (lambda root: shutil.rmtree(root / "test"), "test"),
        (lambda root: [path.unlink() for path in root.rglob("*.png")], "no image"),
        (
            lambda root: [shutil.rmtree(root / part / f"class{n}") for part in ("train", "test") for n in (1, 2, 3)],
            "one",
        ),
        (lambda root: (root / "train" / "class0" / "0.png").write_bytes(b"no image at all"), r"0\.png"),
    ],
    ids=["no folder", "no test part", "no images", "one class", "unreadable image"],
)
def test_bad_image_folders(
    options: list[str],
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[..., Any],
    sentence: str,
) -> None:
    root = tmp_path / "images"
    shutil.copytree(image_folder, root)
    spoil(root)
    arguments = [str(root) if value == str(image_folder) else value for value in options]
    assert re.search(sentence, refused(capsys, *arguments, "--output", str(tmp_path / "runs")))


@pytest.mark.parametrize("dataset", ["cifar10", "gtsrb"])
def test_data_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], dataset: str) -> None:
    arguments = ["--dataset", dataset, "--data-dir", str(tmp_path / "none"), "--output", str(tmp_path / "runs")]
    sentence = f"error: --data-dir {tmp_path}/none: there is no such folder; name one that is there\n"
    assert refused(capsys, *arguments) == sentence


def test_output_that_cannot_be_written(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    sentence = refused(capsys, *options, "--output", str(tmp_path / "file"))
    assert "choose another --output" in sentence


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a file system that not even root may write to")
def test_read_only_output(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "choose another --output" in refused(capsys, *options, "--output", "/sys/kernel")


def test_full_disk_is_noticed_before_anything_slow(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(total=10**9, used=10**9 - 10**6, free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    sentence = refused(capsys, *options, "--output", str(tmp_path))
    assert "has 1 MB left" in sentence


@pytest.mark.parametrize("name", ["nothing-here", "config-only"])
def test_report_of_an_empty_study(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from reports.build import main as build

    if name == "config-only":
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert build([str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert name in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("option", ["--output", "--name", "--cache", "--data-dir", "--victim", "--storage"])
def test_names_that_are_not_in_utf_8_are_refused_before_anything_is_made(
    option: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = refused(capsys, *options, "--output", str(tmp_path / "runs"), option, f"{tmp_path}/caf\udce9")
    assert f"{option} '{tmp_path}/caf\\xe9' is not in UTF-8; rename that file or folder" in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have no such names")
def test_current_folder_that_is_not_in_utf_8_is_refused(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "caf\udce9"
    odd.mkdir()
    monkeypatch.chdir(odd)
    assert "/caf\\xe9' is not in UTF-8" in refused(capsys, *options, "--output", str(tmp_path / "runs"))
    assert "the output folder '" in refused(capsys, *options, "--output", "runs")
    assert list(odd.iterdir()) == []


def test_locale_without_utf_8_is_refused_for_names_beyond_ascii(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    sentence = refused(capsys, *options, "--output", str(tmp_path / "größe"))
    assert "Ray reads names as UTF-8, this process as ascii; set PYTHONUTF8=1 and run this again" in sentence
    assert list(tmp_path.iterdir()) == []

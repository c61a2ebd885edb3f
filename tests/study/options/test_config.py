import dataclasses
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import tyro

from nad.cores import cores
from nad.errors import ConfigError
from study.engine.devices import require_devices
from study.options.config import StudyConfig
from study.options.durations import parse_duration
from study.options.engine import EngineOptions
from study.options.helptext import groups_of
from study.options.victim import VictimOptions


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("8h", 28800), ("1d", 86400), ("1h30m", 5400), ("0.5h", 1800)]
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text, "--time-budget") == seconds


@pytest.mark.parametrize("text", ["30", "m", "-5m", "5 m", "1w", "", "0s", "nans"])
def test_what_is_no_duration_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ConfigError, match="--time-budget"):
        parse_duration(text, "--time-budget")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"attack": "reful"},
            "unknown attack 'reful'; did you mean 'refool'. known: badnets, blend, cl, custom, refool",
        ),
        ({"dataset": "cifar"}, "unknown data set 'cifar'; did you mean 'cifar10'"),
        ({"model": "wrn-16"}, "unknown model 'wrn-16'; did you mean 'wrn-16-"),
        ({"teacher_model": "resnet18"}, "unknown model 'resnet18'; did you mean 'resnet-18'"),
        ({"space": "nadwide"}, "unknown search space 'nadwide'; did you mean 'nad'"),
        ({"sampler": "tpee"}, "unknown sampler 'tpee'; did you mean 'tpe'"),
        ({"precision": "bf16"}, "unknown precision 'bf16'; did you mean 'bfloat16'"),
        ({"poison_rate": 1.5}, r"--poison-rate must be in \(0, 1\], got 1.5"),
        ({"poison_rate": 30.0}, r"--poison-rate must be in \(0, 1\], got 30; write 0.3 if you mean 30%"),
        ({"clean_fractions": ()}, "--clean-fractions needs at least one share, such as 0.05; the space has its own"),
        ({"clean_fractions": (5.0,)}, r"--clean-fractions must be in \(0, 1\], got 5; write 0.05 if you mean 5%"),
        ({"max_acc_drop": 3.0}, r"--max-acc-drop must be in \[0, 1\], got 3; write 0.03 if you mean 3%"),
        ({"max_acc_drop": 300.0}, r"--max-acc-drop must be in \[0, 1\], got 300$"),
        ({"poison_rate": 0.0}, r"--poison-rate must be in \(0, 1\], got 0"),
        ({"clean_fractions": (0.1, 2.0)}, r"--clean-fractions must be in \(0, 1\], got 2"),
        ({"max_acc_drop": -0.1}, r"--max-acc-drop must be in \[0, 1\], got -0.1"),
        ({"max_acc_drop": float("nan")}, "got nan"),
        ({"target": -1}, "--target"),
        ({"trials": 0}, "--trials"),
        ({"seed": -1}, "--seed"),
        ({"victim_epochs": 0}, "--victim-epochs"),
        ({"workers": 0}, "--workers"),
        ({"cpus_per_trial": 0}, "--cpus-per-trial"),
        ({"gpus_per_trial": -1.0}, "--gpus-per-trial"),
        (
            {"gpus_per_trial": 2.0},
            r"--gpus-per-trial must be in \[0, 1\], got 2; a trial computes on one GPU: give 1, or",
        ),
        ({"image_size": 4}, "--image-size"),
        ({"name": "../elsewhere"}, "--name '../elsewhere' must be letters"),
        ({"until_converged": True}, "before 30 trials are complete, and --trials 24 ends it by then"),
        ({"attack": "custom"}, "the attack custom needs a trigger of your own; name its file with --trigger"),
        ({"trigger": Path("t.png")}, "--trigger is for the attack custom, not for refool; add --attack custom"),
        ({"victim": Path("a.pt"), "reference": True}, "--reference compares with a clean model of the victim's recipe"),
        (
            {"victim": Path("a.pt"), "teacher_model": "resnet-18"},
            "a second victim of the victim's recipe, and a --victim has none; leave",
        ),
        (
            {"victim": Path("a.pt"), "attack": "trojan"},
            "and a --victim has none; give the trigger itself with --attack",
        ),
        (
            {"victim": Path("a.pt"), "attack": "refool", "attack_args": ("rounds=2",)},
            "selects its reflections by training models of the victim's recipe, and a --victim has none; leave rounds",
        ),
        ({"victim": Path("a.pt"), "victim_mean": (0.5, 0.5, 0.5)}, "--victim-mean and --victim-std belong together"),
        ({"victim_mean": (0.5,) * 3, "victim_std": (0.5,) * 3}, "are about a --victim; name its file"),
        ({"trust_checkpoint": True}, "is about a --victim or a --teacher; name its file"),
        ({"teacher": Path("a.pt"), "teacher_model": "resnet-18"}, "and --teacher is one; leave one out"),
        ({"victim": Path("a.pt"), "victim_mean": (9.0,) * 3, "victim_std": (0.5,) * 3}, "a channel's mean must be in"),
        ({"time_budget": "soon"}, "--time-budget 'soon' is not a duration"),
    ],
)
def test_bad_settings_end_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        StudyConfig.of(**settings)
    assert "\n" not in str(caught.value)


def test_only_layers_with_a_partner_in_the_teacher_are_searched() -> None:
    assert StudyConfig.of(model="resnet-18").layers == ("layer1", "layer2", "layer3", "layer4")
    assert StudyConfig.of(model="resnet-18", teacher_model="wrn-16-1").layers == ("layer2", "layer3", "layer4")
    assert StudyConfig.of(model="wrn-16-1", teacher_model="wrn-40-2").layers == ("group1", "group2", "group3")


def test_command_line_sets_what_it_names() -> None:
    config = tyro.cli(
        StudyConfig, args=["--attack", "blend", "--clean-fractions", "0.1", "0.05", "--label-mode", "clean", "--prune"]
    )
    assert config == StudyConfig.of(attack="blend", clean_fractions=(0.1, 0.05), label_mode="clean", prune=True)
    assert config.search.fractions == (0.05, 0.1)


def test_model_is_wrn_16_1_unless_told_otherwise() -> None:
    assert VictimOptions().architecture == "wrn-16-1"
    assert VictimOptions(model="wrn-10-2").architecture == "wrn-10-2"


def test_study_is_named_after_attack_and_data() -> None:
    config = StudyConfig.of(attack="badnets", output=Path("some"))
    assert config.directory == Path("some/badnets-fashion-c").resolve()


def test_one_slot_per_core_unless_told_otherwise() -> None:
    assert EngineOptions().slots == EngineOptions().cpus == cores()
    assert (EngineOptions(workers=5, cpus_per_trial=2).slots, EngineOptions(workers=5, cpus_per_trial=2).cpus) == (
        5,
        10,
    )
    assert EngineOptions(cpus_per_trial=10 * cores()).cpus == cores()


def test_trial_that_this_machine_has_no_room_for_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    many = cores() + 1
    for settings, sentence in (
        ({"cpus_per_trial": many}, f"--cpus-per-trial {many} is more than the {cores()} CPUs of this process"),
        ({"gpus_per_trial": 0.5}, "--gpus-per-trial 0.5: torch finds no GPU on this machine"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            require_devices(EngineOptions(**settings))
        require_devices(EngineOptions(**settings, address="auto"))
    require_devices(EngineOptions(cpus_per_trial=many, workers=1))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    require_devices(EngineOptions(gpus_per_trial=0.5))


@pytest.mark.parametrize(
    ("settings", "able", "used"),
    [
        ({}, True, "bfloat16"),
        ({}, False, "float32"),
        ({"precision": "float32"}, True, "float32"),
        ({"precision": "bfloat16"}, False, "bfloat16"),
        ({"gpus_per_trial": 0.5}, False, "bfloat16"),
        ({"address": "auto"}, True, "float32"),
        ({"address": "auto", "gpus_per_trial": 1.0}, False, "bfloat16"),
    ],
)
def test_auto_is_what_the_hardware_of_all_trials_computes_in(
    settings: dict[str, Any], able: bool, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able})
    config = StudyConfig.of(**settings)
    assert config.engine.used_precision == config.recipe.precision == used


@pytest.mark.parametrize(("able", "used"), [(True, "bfloat16"), (False, "float32")])
def test_auto_asks_a_gpu_that_the_driver_sees(able: bool, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: able)
    assert EngineOptions(gpus_per_trial=1.0).used_precision == used


def test_help_says_what_every_option_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tyro.cli(StudyConfig, args=["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--attack", "--clean-fractions", "--time-budget", "--max-acc-drop", "--workers"):
        assert option in text
    running = " ".join(text.replace("│", " ").split())
    assert "loses at most this much accuracy" in running
    assert "(default: None)" not in running, "the sentence says what stands for it"
    assert "{None}|PATH" not in running
    assert "--workers INT" in running


@pytest.mark.parametrize("group", groups_of(StudyConfig))
def test_help_is_running_text_whatever_lines_the_source_has(
    group: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a wide screen an option's text is one line, below the option where that is a long one."""
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        tyro.cli(group, args=["--help"])
    box = capsys.readouterr().out.partition("show this help")[2].splitlines()[1:]
    is_option = [text.startswith("--") for text in (line.strip("│╰─╯ ") for line in box) if text]
    assert sum(is_option) == len(dataclasses.fields(group))
    assert all(one or other for one, other in pairwise(is_option))


def test_help_shows_every_option_once_in_its_group(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        tyro.cli(StudyConfig, args=["--help"])
    boxes = re.split(r"(\w+) options [ ─]", capsys.readouterr().out)[1:]
    found = {
        name: re.findall(r"^[│ ] --([a-z][a-z-]*)", box, re.M)
        for name, box in zip(boxes[::2], boxes[1::2], strict=True)
    }
    assert found == {
        name: [each.name.replace("_", "-") for each in dataclasses.fields(group)]
        for name, group in vars(StudyConfig()).items()
    }


def test_settings_are_recorded_without_groups() -> None:
    settings = StudyConfig.of(attack="blend", trials=7, name="x", workers=3).settings
    assert {name: settings[name] for name in ("attack", "trials", "name", "workers")} == {
        "attack": "blend",
        "trials": 7,
        "name": "x",
        "workers": 3,
    }
    assert StudyConfig.of(**settings).changed(attack="sig") == StudyConfig.of(**{**settings, "attack": "sig"})
    with pytest.raises(TypeError, match="unknown settings: telepathy"):
        StudyConfig.of(telepathy=True)

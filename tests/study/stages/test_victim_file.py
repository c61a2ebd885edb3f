"""A study of a victim from a file: what it records, how it goes on, and what bad files get."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file
from studies import has_no_trial

from nad import data, models
from nad.attacks import BadNets, make
from nad.attacks.badnets import PATCH
from nad.checkpoints import Checkpoint, load, save, state_digest
from nad.data.base import LabelledImages
from nad.errors import ConfigError, DataError
from nad.evaluation import predict
from nad.formats import ForeignModel, PoisonedTest
from nad.scenario import Scenario
from nad.seeds import generator
from nad.trained_on import TrainedOn, of_dataset
from nad.victim import Victim, VictimConfig, score_state, train_victim
from study.display.progress import Display
from study.options.config import StudyConfig
from study.run import main
from study.stages import preparation
from study.stages.preparation import Preparation
from study.stages.victim_file import accept_victim, read_victim, require_classes

ATTACK = BadNets(poison_rate=0.3)


@pytest.fixture(scope="module")
def scenario(image_folder: Path, cache: Path) -> Scenario:
    torch.set_num_threads(1)
    return Scenario(data.load("folder", cache_dir=cache, data_dir=image_folder, image_size=16), ATTACK, seed=0)


@pytest.fixture(scope="module")
def victim(scenario: Scenario, cache: Path) -> Victim:
    return train_victim(scenario, "wrn-10-1", VictimConfig(epochs=12), cache=cache)


def released(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What the released NAD code saves."""

    def theirs(name: str) -> str:
        for group in "123":
            name = name.replace(f"group{group}.", f"block{group}.layer.")
        return name.replace(".shortcut.", ".convShortcut.").replace("bn.", "bn1.", 1 if name.startswith("bn.") else 0)

    return {"epoch": 12, "state_dict": {theirs(name): value for name, value in state.items()}, "best_clean_acc": 80.0}


@pytest.fixture
def ask(image_folder: Path, cache: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """A function that gives the arguments of a small study of a victim from a file; others follow."""

    def arguments(victim: Path, *others: str, attack: str = "badnets") -> list[str]:
        return [
            *("--attack", attack, "--dataset", "folder", "--data-dir", str(image_folder), "--image-size", "16"),
            *("--victim", str(victim), "--cache", str(cache), "--output", str(tmp_path / "runs"), "--name", "s"),
            *("--clean-fractions", "0.1", "--trials", "1", "--workers", "1", "--sampler", "random", "--confirm", "0"),
            *others,
        ]

    return arguments


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The sentence with which a command ends."""
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    return error


@pytest.mark.usefixtures("ray_started")
def test_study_of_a_file_records_it_goes_on_with_the_same_weights_and_refuses_others(
    ask: Callable[..., list[str]],
    victim: Victim,
    scenario: Scenario,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preparation, "train_reference", lambda *given, **options: pytest.fail("no recipe is known"))
    torch.save(released(victim.state), tmp_path / "model_best.pth.tar")
    free = ("--allow-weak-backdoor", "--max-acc-drop", "1")
    assert main(ask(tmp_path / "model_best.pth.tar", *free, "--confirm", "1")) == 0
    assert "format nad-release, wrn-10-1, 4 classes, pixels in [0, 1]" in " ".join(capsys.readouterr().out.split())
    folder = tmp_path / "runs" / "s"
    found = json.loads((folder / "summary.json").read_text())
    assert found["victim_file"] == {"format": "nad-release", "normalisation": None, "poisoned_test": None}
    assert found["victim_sha256"] == state_digest(victim.state)
    assert found["victim"] == victim.scores._asdict()
    assert (found["model"], found["seconds"]["victim"], found["counts"]["poisoned"]) == ("wrn-10-1", 0, None)
    assert found["recommended"]["clean_model"] is None
    assert "its training images are unknown" in (folder / "summary.md").read_text()
    assert str(tmp_path) not in json.dumps(json.loads((folder / "config.json").read_text())["identity"])
    save_file({name: value.contiguous() for name, value in victim.state.items()}, tmp_path / "same.bin")
    assert main(ask(tmp_path / "same.bin", *free)) == 0
    changed = {**victim.state, "fc.bias": victim.state["fc.bias"] + 1}
    torch.save(changed, tmp_path / "other.pt")
    sentence = refused(capsys, ask(tmp_path / "other.pt", *free))
    assert (
        f"was made with victim weights {state_digest(victim.state)[:12]}... (now {state_digest(changed)[:12]}...)"
        in sentence
    )


# What bad files get: one sentence, exit code 2, nothing written.


def untouched(folder: Path) -> bool:
    """Whether nothing of a study is in there, but perhaps the lock, and the log of what was said."""
    return not folder.exists() or {path.name for path in folder.iterdir()} <= {"study.lock", "driver.log"}


class Explosive:
    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.touched),)


def bad_files(tmp_path: Path) -> dict[str, tuple[object, str]]:
    """What is pickled into a file, and the sentence that it gets."""
    state = models.make("wrn-10-1", 4).state_dict()
    return {
        "code": ({"state_dict": Explosive(tmp_path / "touched")}, "add --trust-checkpoint"),
        "a weight less": (dict(list(state.items())[1:]), "the nearest is wrn-10-1: 45 weights agree, 1 missing: conv1"),
        "other classes": (models.make("wrn-10-1", 7).state_dict(), "tells 7 classes apart, the data set folder has 4"),
        "no weights": ({"epoch": 3}, "no weights that a format knows"),
    }


@pytest.mark.parametrize("kind", bad_files(Path()))
def test_files_that_are_no_victim(
    kind: str, ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, sentence = bad_files(tmp_path)[kind]
    torch.save(content, tmp_path / "foreign.pt")
    assert sentence in refused(capsys, ask(tmp_path / "foreign.pt"))
    assert untouched(tmp_path / "runs" / "s")
    assert not (tmp_path / "touched").exists()


def test_truncated_and_missing_files(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(models.make("wrn-10-1", 4).state_dict(), tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-300])
    cut = f"error: the model file {tmp_path / 'a.pt'} is cut short; copy or download it again\n"
    assert refused(capsys, ask(tmp_path / "a.pt")) == cut
    missing = f"error: there is no model file {tmp_path / 'nothing.pt'}; name one that is there\n"
    assert refused(capsys, ask(tmp_path / "nothing.pt")) == missing
    assert untouched(tmp_path / "runs" / "s")


def test_victim_that_does_not_obey_the_trigger(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], victim: Victim
) -> None:
    torch.save(victim.state, tmp_path / "a.pt")
    sentence = refused(capsys, ask(tmp_path / "a.pt", "--target", "3"))
    assert "the backdoor did not take" in sentence
    assert "--attack and --target must be those that it was trained with" in sentence
    assert has_no_trial(tmp_path / "runs" / "s")


@pytest.mark.parametrize("target", ["0", "3"])
def test_victim_of_one_answer_is_told_so_whether_or_not_that_is_the_target(
    target: str, ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = models.make("wrn-10-1", 4, generator(0)).state_dict()
    state["fc.bias"][0] = 1e6
    torch.save(state, tmp_path / "a.pt")
    sentence = refused(capsys, ask(tmp_path / "a.pt", "--target", target))
    assert "the victim only guesses the clean validation images: its accuracy is 25.0%" in sentence
    assert "--victim-mean" in sentence
    assert has_no_trial(tmp_path / "runs" / "s")


@pytest.mark.parametrize(
    ("size", "sentence"), [((17, 3), "is 17x3 pixels, the images are 16x16"), ((16, 16), "hides the whole image")]
)
def test_trigger_that_does_not_fit_is_refused_before_anything_is_written(
    size: Any, sentence: str, ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(models.make("wrn-10-1", 4).state_dict(), tmp_path / "a.pt")
    Image.new("RGB", size).save(tmp_path / "t.png")
    asked = ask(tmp_path / "a.pt", "--trigger", str(tmp_path / "t.png"), attack="custom")
    assert sentence in refused(capsys, asked)
    assert untouched(tmp_path / "runs" / "s")


# Parts


def quiet() -> Display:
    return Display(Console(file=StringIO()))


def victim_settings(path: Path, known: dict[str, Any], **options: Any) -> StudyConfig:
    """The settings of a study of a model that was trained on these images."""
    save(path, Checkpoint(models.make("wrn-10-1", 4, generator(0)).state_dict(), TrainedOn(**known).card()))
    return read_victim(StudyConfig.of(victim=path, **options), quiet())[0]


def test_study_takes_the_size_and_the_mirroring_of_its_victim(tmp_path: Path) -> None:
    found = victim_settings(tmp_path / "a", {"image_size": 48, "flip": False}, dataset="folder")
    assert (found.victim.used_image_size, found.victim.used_flip) == (48, False)
    found = victim_settings(tmp_path / "b", {}, dataset="folder")
    assert (found.victim.used_image_size, found.victim.used_flip) == (32, True)
    same = {"image_size": 48, "flip": False}
    found = victim_settings(tmp_path / "c", same, dataset="folder", **same)
    assert (found.victim.used_image_size, found.victim.used_flip) == (48, False)


def test_flip_of_gtsrb_which_is_never_mirrored_is_no_contradiction(tmp_path: Path) -> None:
    found = victim_settings(tmp_path / "a", {"flip": False}, dataset="gtsrb", flip=True)
    assert found.victim.used_flip


@pytest.mark.parametrize(
    ("known", "options", "sentence"),
    [
        (
            {"image_size": 64},
            {"dataset": "folder", "image_size": 32},
            "--image-size 32 contradicts the model in --victim, trained on images of 64x64 pixels; leave it",
        ),
        (
            {"image_size": 64},
            {"dataset": "cifar10"},
            "trained on images of 64x64 pixels, those of cifar10 are 32x32 and are not resized; choose the --dataset",
        ),
        (
            {"flip": True},
            {"flip": False},
            "--no-flip contradicts the model in --victim, trained with mirrored",
        ),
        (
            {"flip": False},
            {"flip": True},
            "--flip contradicts the model in --victim, trained without mirrored",
        ),
    ],
)
def test_settings_that_contradict_the_victim_are_refused(
    known: Any, options: Any, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        victim_settings(tmp_path / "a", known, **options)
    assert sentence in str(caught.value)


def test_victim_of_other_classes_is_refused(scenario: Scenario, victim: Victim) -> None:
    known = TrainedOn(class_names=("class0", "class2", "class1", "class3"))
    foreign = ForeignModel("nad-study", "wrn-10-1", 4, victim.state, None, None, (), known)
    with pytest.raises(DataError, match="the classes of the data set folder are in another order than the model's"):
        require_classes(foreign, scenario)


def test_trained_victim_says_what_it_was_trained_on(scenario: Scenario, victim: Victim, cache: Path) -> None:
    cards = [load(path).card for path in (cache / "models").glob("victim-*.safetensors")]
    assert of_dataset(scenario.dataset).card()["trained_on"] == {
        "image_size": 16,
        "flip": True,
        "class_names": scenario.dataset.class_names,
    }
    assert any(card["trained_on"]["class_names"] == list(scenario.dataset.class_names) for card in cards)


def test_own_trigger_gives_the_eval_set_of_the_attack_that_it_copies(
    scenario: Scenario, image_folder: Path, cache: Path, tmp_path: Path
) -> None:
    patch = np.repeat(np.array(PATCH, dtype=np.uint8)[..., None], 3, axis=2)
    Image.fromarray(patch).save(tmp_path / "patch.png")
    images = {"dataset": "folder", "data_dir": image_folder, "image_size": 16, "clean_fractions": (0.1,)}
    config = StudyConfig.of(attack="custom", trigger=tmp_path / "patch.png", **images)
    found = Preparation(config, cache, quiet()).load_scenario()
    assert torch.equal(found.validation.triggered.images, scenario.validation.triggered.images)
    assert torch.equal(found.test.triggered.images, scenario.test.triggered.images)


def test_victim_is_tried_on_the_poisoned_images_that_came_with_it(scenario: Scenario, victim: Victim) -> None:
    triggered = scenario.test.triggered
    given = PoisonedTest(LabelledImages(triggered.images[:20], triggered.labels[:20]), 0)
    foreign = ForeignModel("backdoorbench", "wrn-10-1", 4, victim.state, None, given, ())
    found = accept_victim(foreign, scenario, quiet(), allow_weak=True)
    hits = int((predict(foreign.network(), triggered.images[:20]) == 0).sum())
    assert found.origin == {
        "format": "backdoorbench",
        "normalisation": None,
        "poisoned_test": {"images": 20, "target": 0, "asr": hits / 20},
    }
    assert found.scores == score_state(victim.state, "wrn-10-1", scenario, scenario.validation) == victim.scores


def test_whatever_shapes_a_custom_trigger_is_asked_of_the_command_line(tmp_path: Path) -> None:
    config = StudyConfig.of(
        attack="custom", trigger=tmp_path / "t.png", attack_args=("blend-ratio=0.3", "place=centre")
    )
    Image.new("RGB", (3, 3), "red").save(tmp_path / "t.png")
    attack = Preparation(config, tmp_path, quiet()).load_scenario().attack
    assert (attack.name, attack.blend_ratio, attack.place) == ("custom", 0.3, "centre")
    assert (attack.pattern.height, attack.pattern.width) == (3, 3)


def test_nothing_is_trained_or_made_for_a_victim_that_is_poisoned_already(
    scenario: Scenario, victim: Victim, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train_victim", "train_reference", "prepare"):
        monkeypatch.setattr(preparation, name, lambda *given, **options: pytest.fail("no recipe is known"))
    config = StudyConfig.of(attack="cl", victim=Path("a"), model="wrn-10-1", allow_weak_backdoor=True)
    foreign = ForeignModel("state-dict", "wrn-10-1", 4, victim.state, None, None, ())
    prepared = Preparation(config, cache, quiet())
    planted = prepared.prepare_attack(replace(scenario, attack=make("cl")), foreign)
    found, origin = prepared.prepare_victims(planted, foreign)
    assert (found.state, origin) == (victim.state, None)
    assert found.scores == score_state(victim.state, "wrn-10-1", planted, planted.validation)

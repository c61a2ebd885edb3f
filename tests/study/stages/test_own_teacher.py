"""A teacher from a file, in studies and in apply: how it is used, recorded, and refused."""

import dataclasses
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from released_formats import attack_result
from rich.console import Console
from studies import refused
from torch import Tensor

from nad import data, models
from nad.attacks import BadNets
from nad.checkpoints import Checkpoint, load, save, state_digest
from nad.context import TrainContext
from nad.data.folder import load_owned
from nad.erasure import PRESETS, TEACHER, EraseConfig, distil, make_teacher
from nad.errors import ConfigError
from nad.formats import load_foreign
from nad.models.normalisation import KEYS
from nad.scenario import Scenario
from nad.seeds import generator
from nad.trained_on import TrainedOn
from nad.victim import VictimConfig, train_victim
from search_spaces import Point
from study.commands import apply
from study.display.progress import Display
from study.engine.erase_task import erase_victim
from study.options.config import StudyConfig
from study.run import main
from study.stages.own_teacher import load_teacher
from study.stages.preparation import Preparation
from study.stages.teachers import ready_origin, with_teachers
from study.stages.workload import for_draw, make_workload

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def scenario(image_folder: Path, cache: Path) -> Scenario:
    torch.set_num_threads(1)
    images = data.load("folder", cache_dir=cache, data_dir=image_folder, image_size=16)
    return Scenario(images, BadNets(poison_rate=0.3), seed=0)


@pytest.fixture(scope="module")
def victim(scenario: Scenario, cache: Path) -> State:
    return train_victim(scenario, "wrn-10-1", VictimConfig(epochs=12), cache=cache).state


@pytest.fixture(scope="module")
def teacher(scenario: Scenario, victim: State) -> State:
    """The victim, fine-tuned on images of its owner's choice."""
    network = models.with_weights("wrn-10-1", 4, victim)
    context = TrainContext(flip=False, generator=generator(7), device=torch.device("cpu"))
    make_teacher(network, scenario.holdout(0.5), context, dataclasses.replace(TEACHER, epochs=2, lr=0.01))
    return {name: value.detach() for name, value in network.state_dict().items()}


@pytest.fixture
def files(victim: State, teacher: State, tmp_path: Path) -> Path:
    """A folder with both models as plain state dicts."""
    torch.save(victim, tmp_path / "victim.pt")
    torch.save({"net": teacher}, tmp_path / "teacher.pt")
    return tmp_path


@pytest.fixture
def ask(image_folder: Path, files: Path) -> Callable[..., list[str]]:
    """A function that gives the arguments of a small study; others follow."""

    def arguments(*others: str) -> list[str]:
        return [
            *("--attack", "badnets", "--dataset", "folder", "--data-dir", str(image_folder), "--image-size", "16"),
            *("--victim", str(files / "victim.pt"), "--allow-weak-backdoor", "--max-acc-drop", "1", "--no-portfolio"),
            *("--cache", str(files / "cache"), "--output", str(files / "runs"), "--name", "s", "--workers", "1"),
            *("--clean-fractions", "0.1", "--trials", "2", "--sampler", "random", *others),
        ]

    return arguments


def quiet() -> Display:
    return Display(Console(file=StringIO()))


@pytest.mark.usefixtures("ray_started")
def test_study_with_an_own_teacher_makes_none_records_it_and_refuses_another(
    ask: Callable[..., list[str]], teacher: State, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("--teacher", str(files / "teacher.pt"))
    assert main(ask(*own, "--confirm", "1")) == 0
    assert "teacher: your own, ACC" in capsys.readouterr().out
    folder, digest = files / "runs" / "s", state_digest(teacher)
    found = json.loads((folder / "summary.json").read_text())
    assert found["teacher_sha256"] == digest
    assert {"nad-paper", "nad-code"} & {control["name"] for control in found["controls"]}, "a trial was distilled"
    assert digest in (folder / "models" / "recommended.md").read_text()
    assert not list((files / "cache").rglob("teacher-*.safetensors"))
    changed = {**teacher, "fc.bias": teacher["fc.bias"] + 0.01}
    torch.save(changed, files / "other.pt")
    before = (folder / "summary.json").read_bytes()
    now = state_digest(changed)[:12]
    sentence = refused(capsys, *ask("--teacher", str(files / "other.pt")))
    assert f"was made with teacher {digest[:12]}... (now {now}...); give the same settings" in sentence
    assert f"was made with teacher {digest[:12]}... (now null)" in refused(capsys, *ask())
    assert (folder / "summary.json").read_bytes() == before


def test_every_draw_and_the_erase_of_a_clean_model_are_taught_by_it(
    scenario: Scenario, victim: State, teacher: State, files: Path
) -> None:
    config = StudyConfig.of(model="wrn-10-1", clean_fractions=(0.1,), attack="badnets")
    origin = ready_origin(load_foreign(files / "teacher.pt"))
    preparation = Preparation(config, files / "cache", quiet(), origin)
    assert preparation.prepare_clean_origin(scenario, VictimConfig()) is origin
    given: Any = type("Victim", (), {"state": victim})
    first = make_workload(config, scenario, given, scenario.validation, origin)
    second = for_draw(first, scenario, 0.1, 1)
    blocks = with_teachers({0: first, 1: second}, [(0, 0.1), (1, 0.1)], "images", preparation)
    assert not (files / "cache").exists()
    point = Point(0.1, dataclasses.replace(PRESETS["code"], epochs=1))
    for draw, block in blocks.items():
        student, _scores = erase_victim(point, 3, block)
        by_hand = models.with_weights("wrn-10-1", 4, victim)
        context = block.context(generator(3, "erase"), torch.device("cpu"), None)
        master = models.with_weights("wrn-10-1", 4, teacher)
        distil(by_hand, master, scenario.holdout(0.1, draw), point.erase, context)
        assert state_digest(dict(student.state_dict())) == state_digest(dict(by_hand.state_dict()))


def test_victim_that_the_study_trains_has_the_own_teacher_too(
    scenario: Scenario, victim: State, cache: Path, files: Path
) -> None:
    origin = ready_origin(load_foreign(files / "teacher.pt"))
    config = StudyConfig.of(model="wrn-10-1", attack="badnets", allow_weak_backdoor=True)
    made, given = Preparation(config, cache, quiet(), origin).prepare_victims(scenario, VictimConfig(epochs=12))
    assert state_digest(made.state) == state_digest(victim)
    assert given is origin


def test_teacher_without_a_normalisation_has_the_victim_s(victim: State, files: Path) -> None:
    torch.save(attack_result(torch.nn.Identity(), 4, model=victim), files / "attack_result.pt")
    given = load_foreign(files / "attack_result.pt")
    found = load_teacher(files / "teacher.pt", given)
    assert found.normalisation == given.normalisation is not None
    assert torch.equal(found.state[KEYS[0]], given.state[KEYS[0]])


# Wrong twins: one sentence, exit code 2, no trial.


def other_classes(path: Path) -> None:
    torch.save(models.make("wrn-10-1", 3, generator(0)).state_dict(), path)


def other_model(path: Path) -> None:
    torch.save(models.make("wrn-16-1", 4, generator(0)).state_dict(), path)


def random_weights(path: Path) -> None:
    torch.save(models.make("wrn-10-1", 4, generator(0)).state_dict(), path)


def other_size(path: Path) -> None:
    state = dict(models.make("wrn-10-1", 4, generator(0)).state_dict())
    save(path, Checkpoint(state, TrainedOn(image_size=64).card()))


WRONG = {
    "nothing there": (lambda path: None, "there is no model file {path}; name one that is there"),
    "no model": (lambda path: path.write_text("a model"), "{path} is no model file, or a damaged one"),
    "other classes": (
        other_classes,
        "the model in --teacher is a wrn-10-1 of 3 classes, the victim is a wrn-10-1 of 4",
    ),
    "other model": (other_model, "the model in --teacher is a wrn-16-1 of 4 classes, the victim is a wrn-10-1 of 4"),
    "other size": (other_size, "the model in --teacher was trained on 64x64 pixels, the victim takes 16x16; give a"),
    "random": (random_weights, "the model in --teacher only guesses the clean images: its accuracy is "),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_teacher_of_a_study(
    kind: str, ask: Callable[..., list[str]], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, sentence = WRONG[kind]
    path = files / "wrong.pt"
    write(path)
    assert sentence.format(path=path) in refused(capsys, *ask("--teacher", str(path)))
    assert not list(files.rglob("study.db"))


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_teacher_of_apply(
    kind: str, applied: Callable[..., list[str]], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, sentence = WRONG[kind]
    path = files / "wrong.pt"
    write(path)
    assert sentence.format(path=path) in refused(capsys, *applied("--teacher", str(path)), command=apply.main)
    assert not (files / "erased.safetensors").exists()


def test_victim_is_no_teacher_of_itself(applied: Callable[..., list[str]], victim: State, files: Path) -> None:
    torch.save({"state_dict": victim}, files / "same.pth")
    with pytest.raises(ConfigError, match="the model in --teacher is the victim itself; give a cleaned copy of it, or"):
        load_teacher(files / "same.pth", load_foreign(files / "victim.pt"))


# apply


@pytest.fixture
def applied(image_folder: Path, cache: Path, files: Path) -> Callable[..., list[str]]:
    """A function that gives the arguments of apply; others follow."""
    params = {"distil_group1": False, "distil_group2": False, "distil_group3": True, "beta_group3": 400.0}
    params |= {"clean_fraction": 0.05, "schedule": "code", "cutout": 3, "epochs": 2}
    point = {"number": 4, "params": params}
    found = {"study": "s", "model": "wrn-10-1", "space": "nad", "counts": {"train": 400}, "front": [point]}
    (files / "summary.json").write_text(json.dumps({**found, "recommended": point, "recommended_why": "The lowest."}))

    def arguments(*others: str) -> list[str]:
        model = ("--victim", str(files / "victim.pt"), "--data", str(image_folder), "--cache", str(cache))
        return [str(files / "summary.json"), *model, "--image-size", "16", *others]

    return arguments


def test_applied_setting_is_distilled_from_the_own_teacher(
    applied: Callable[..., list[str]], victim: State, teacher: State, image_folder: Path, cache: Path, files: Path
) -> None:
    assert apply.main(applied("--teacher", str(files / "teacher.pt"))) == 0
    images = load_owned(image_folder, cache_dir=cache, image_size=16)
    student, master = (models.with_weights("wrn-10-1", 4, state) for state in (victim, teacher))
    setting = EraseConfig(layers=("group3",), betas=(400.0,), schedule="code", cutout=3, epochs=2)
    context = TrainContext(flip=True, generator=generator(0, "erase"), device=torch.device("cpu"))
    distil(student, master, images.train, setting, context)
    assert state_digest(load(files / "erased.safetensors").state) == state_digest(dict(student.state_dict()))
    assert f"| teacher | from a file, sha256 {state_digest(teacher)} |" in (files / "erased.md").read_text()

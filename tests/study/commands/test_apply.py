"""A setting that a study has found, on another model: what it does, and what bad input gets."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import studies
import torch
from torch import Tensor

from nad import models
from nad.checkpoints import Checkpoint, copy_state, load, save
from nad.context import TrainContext
from nad.data.folder import load_owned
from nad.erasure import EraseConfig, distil, make_teacher
from nad.evaluation import accuracy
from nad.models import wide_resnet
from nad.seeds import generator
from nad.trained_on import TrainedOn
from nad.training import TrainConfig, train
from study import __main__ as command
from study.commands import apply

PARAMS = {
    "distil_group1": False,
    "distil_group2": True,
    "distil_group3": True,
    "beta_group2": 400.0,
    "beta_group3": 100.0,
    "clean_fraction": 0.05,
    "schedule": "code",
    "cutout": 3,
    "epochs": 3,
}
TUNING = {name: value for name, value in PARAMS.items() if "beta" not in name} | dict.fromkeys(
    ("distil_group2", "distil_group3"), False
)


def summary_of(**changes: Any) -> dict[str, Any]:
    point = {"number": 4, "params": PARAMS}
    return {
        "study": "s",
        "model": "wrn-16-1",
        "space": "nad",
        "counts": {"train": 8000},
        "front": [point, {"number": 7, "params": TUNING}],
        "recommended": point,
        "recommended_why": "The lowest.",
        **changes,
    }


@pytest.fixture(scope="module")
def victim_state(image_folder: Path, cache: Path) -> dict[str, Tensor]:
    """A model that knows the images of the folder, more or less."""
    torch.set_num_threads(1)
    images = load_owned(image_folder, cache_dir=cache, image_size=16)
    model = models.make("wrn-10-1", 4, generator(0, "weights"))
    recipe = TrainConfig(epochs=6, schedule="one-cycle", batch_size=16, cutout=0)
    list(train(model, images.train, recipe, TrainContext(flip=False, generator=generator(0, "batches"))))
    assert accuracy(model, images.test) > 0.5
    return copy_state(model)


@pytest.fixture
def ask(image_folder: Path, cache: Path, victim_state: dict[str, Tensor], tmp_path: Path) -> Callable[..., list[str]]:
    """A function that writes a summary and a victim and returns the arguments of a command that applies the one to the
    other; keywords replace an option, None leaves it out."""
    (tmp_path / "summary.json").write_text(json.dumps(summary_of()))
    save(tmp_path / "victim.safetensors", Checkpoint(victim_state, {"facts": {}}))

    def arguments(summary: Path | None = None, **options: Any) -> list[str]:
        usual = {"victim": tmp_path / "victim.safetensors", "data": image_folder, "image_size": 16, "cache": cache}
        given = {name: value for name, value in {**usual, **options}.items() if value is not None}
        named = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        return [str(summary or tmp_path / "summary.json"), *named]

    return arguments


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The sentence with which a command ends."""
    return studies.refused(capsys, *arguments, command=apply.main)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_erased_model_is_the_one_that_the_setting_makes(
    ask: Callable[..., list[str]],
    victim_state: dict[str, Tensor],
    image_folder: Path,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["apply", *ask(seed=3)]) == 0
    images = load_owned(image_folder, cache_dir=cache, image_size=16)
    student, teacher = models.make("wrn-10-1", 4), models.make("wrn-10-1", 4)
    for model in (student, teacher):
        model.load_state_dict(victim_state)
    before = accuracy(student, images.test)
    setting = EraseConfig(layers=("group2", "group3"), betas=(400.0, 100.0), schedule="code", cutout=3, epochs=3)
    make_teacher(teacher, images.train, TrainContext(flip=True, generator=generator(3, "teacher")))
    distil(student, teacher, images.train, setting, TrainContext(flip=True, generator=generator(3, "erase")))
    made = load(tmp_path / "erased.safetensors")
    assert all(torch.equal(made.state[name], value) for name, value in student.state_dict().items())
    text = printed(capsys)
    assert f"accuracy on test images (test/): {before:.1%} before, {accuracy(student, images.test):.1%} after" in text
    assert "erase: 3/3 epochs" in text
    card = (tmp_path / "erased.md").read_text()
    assert "trial 4 of the study s: distilled group2 (β 400) + group3 (β 100)" in card
    assert "found with 400" in card
    assert "Whether a backdoor is gone was not measured" in card
    assert "steps by number of threads: 1: " in card
    assert f"| test images (test/) | {before:.1%} |" in card
    assert (tmp_path / "erased.safetensors").stat().st_mode & 0o077 == 0


def test_erased_model_carries_the_size_the_mirroring_and_the_classes_and_is_used_with_them(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = [*ask(trial=7), "--no-flip"]
    assert apply.main(plain) == 0
    known = {"image_size": 16, "flip": False, "class_names": ["class0", "class1", "class2", "class3"]}
    assert load(tmp_path / "erased.safetensors").card["trained_on"] == known
    again = {"trial": 7, "victim": tmp_path / "erased.safetensors", "output": tmp_path / "twice.safetensors"}
    assert apply.main(ask(**again, image_size=None)) == 0
    assert load(tmp_path / "twice.safetensors").card["trained_on"] == known
    assert "| image size, mirrored | 16, no |" in (tmp_path / "twice.md").read_text()
    contradicted = refused(capsys, ask(**{**again, "output": tmp_path / "c.safetensors"}, image_size=32))
    assert "--image-size 32 contradicts the model in --victim, trained on images of 16x16" in contradicted
    assert "--flip contradicts the model" in refused(
        capsys, [*ask(**{**again, "output": tmp_path / "d.safetensors"}), "--flip"]
    )


def test_folders_that_are_not_the_model_s_classes_are_refused(
    ask: Callable[..., list[str]],
    victim_state: dict[str, Tensor],
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = TrainedOn(image_size=16, class_names=("class1", "class0", "class2", "class3"))
    save(tmp_path / "other.safetensors", Checkpoint(victim_state, known.card()))
    sentence = refused(capsys, ask(victim=tmp_path / "other.safetensors"))
    assert f"the classes of {image_folder / 'train'} are in another order than the model's" in sentence


def test_model_with_permuted_labels_is_refused_unless_allowed(
    ask: Callable[..., list[str]], victim_state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rolled = {name: value.roll(1, 0) if name.startswith("fc.") else value for name, value in victim_state.items()}
    save(tmp_path / "rolled.safetensors", Checkpoint(rolled, {}))
    sentence = refused(capsys, ask(victim=tmp_path / "rolled.safetensors"))
    assert "the model only guesses on these images" in sentence
    assert "perhaps the order of the classes, the image size, the channels (RGB or BGR) or" in sentence
    assert "add --allow-guessing" in sentence
    assert not (tmp_path / "erased.safetensors").exists()
    assert apply.main([*ask(trial=7, victim=tmp_path / "rolled.safetensors"), "--allow-guessing"]) == 0


def test_trial_of_the_front_is_taken_instead_and_a_folder_will_do(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.move(tmp_path / "summary.json", folder)
    assert apply.main(ask(folder, trial=7, output=tmp_path / "new" / "model.safetensors")) == 0
    assert "trial 7 of s" in printed(capsys)
    assert "no layer (β = 0)" in (tmp_path / "new" / "model.md").read_text()


def test_images_to_score_on_may_be_missing(
    ask: Callable[..., list[str]], image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(image_folder / "train", tmp_path / "images" / "train")
    assert apply.main(ask(trial=7, data=tmp_path / "images")) == 0
    text = printed(capsys)
    assert "accuracy on your own images" in text
    assert "test images" not in text


def test_erased_model_can_be_erased_again(ask: Callable[..., list[str]], tmp_path: Path) -> None:
    assert apply.main(ask(trial=7)) == 0
    second = ask(trial=7, victim=tmp_path / "erased.safetensors", output=tmp_path / "twice.safetensors")
    assert apply.main(second) == 0


def test_it_needs_no_ray(ask: Callable[..., list[str]], tmp_path: Path) -> None:
    code = "import sys; from study.commands.apply import main; main(sys.argv[1:]); assert 'ray' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert "--victim" in done.stdout
    code = f"import sys; from study.commands.apply import main; main({ask(trial=99)!r}); sys.exit('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "trial 99" in done.stderr
    assert done.returncode == 0


def test_both_commands_of_nad_study_say_how_they_are_used(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, option in ((["apply", "--help"], "--victim"), (["--help"], "--attack")):
        with pytest.raises(SystemExit) as caught:
            command.main(arguments)
        assert caught.value.code == 0
        assert option in capsys.readouterr().out


# What bad input gets: one sentence, exit code 2, nothing written.


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        (
            {"recommended": None, "recommended_why": "None."},
            {},
            "recommends no setting (None); choose one of its",
        ),
        ({}, {"trial": 5}, "trial 5 is not on the front of the study 's'; on it are: 4, 7"),
        ({"front": [], "recommended": None}, {}, "--trial: none"),
        ({"front": 3}, {}, "has no list at 'front'"),
        ({"counts": {}}, {}, "has no 'counts.train'"),
        ({"recommended": {"number": 1}}, {}, "has no 'recommended.params'"),
        ({"recommended": {"number": 1, "params": {**PARAMS, "epochs": 10**9}}}, {}, "epochs must be in [1, 1000]"),
        ({"recommended": {"number": 1, "params": {**PARAMS, "epochs": "many"}}}, {}, "is not a setting of an erase"),
        ({"recommended": {"number": 1, "params": {**PARAMS, "epochs": [3]}}}, {}, "is not a setting of an erase"),
        ({"recommended": {"number": 1, "params": {**PARAMS, "distil_group9": True}}}, {}, "group9 has no beta"),
        ({"recommended": {"number": 1, "params": {**PARAMS, "strange": 1}}}, {}, "is not a setting of an erase"),
    ],
)
def test_summaries_without_a_usable_setting(
    ask: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: Any,
    options: Any,
    sentence: str,
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(summary_of(**changes)))
    assert sentence in refused(capsys, ask(**options))
    assert not (tmp_path / "erased.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b'{"study":', b"[]", b"\xff\xfe"])
def test_damaged_summaries(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any
) -> None:
    (tmp_path / "summary.json").write_bytes(content)
    assert "summary.json" in refused(capsys, ask())


def test_summary_that_is_not_there(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = tmp_path / "nothing"
    sentence = f"error: there is no study '{nothing}'; give the folder of one, or its summary.json\n"
    assert refused(capsys, ask(nothing)) == sentence
    nothing.mkdir()
    sentence = f"error: '{nothing}/summary.json' cannot be read: there is no such file; name one that is there\n"
    assert refused(capsys, ask(nothing)) == sentence


def foreign_files(state: dict[str, torch.Tensor]) -> dict[str, Callable[[Path], object]]:
    """Files that hold no model, by what they are."""
    card = {"facts": {}}
    return {
        "nothing": lambda path: None,
        "a folder": lambda path: path.mkdir(),
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("a model"),
        "a pickle": lambda path: path.write_bytes(pickle.dumps({"state_dict": 1})),
        "torn": lambda path: (save(path, Checkpoint(state, card)), path.write_bytes(path.read_bytes()[:-100])),
        "a weight less": lambda path: save(path, Checkpoint(dict(list(state.items())[1:]), card)),
        "another shape": lambda path: save(path, Checkpoint({**state, "bn.weight": torch.zeros(65)}, card)),
        "another model": lambda path: save(path, Checkpoint({"weight": torch.zeros(2, 2)}, card)),
    }


def test_model_of_others_is_erased_with_its_normalisation(
    ask: Callable[..., list[str]], victim_state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"module." + name: value for name, value in victim_state.items()}, tmp_path / "model.pth")
    normalised = [*("--victim-mean", "0.5", "0.4", "0.3"), *("--victim-std", "0.2", "0.2", "0.2")]
    assert apply.main([*ask(trial=7, victim=tmp_path / "model.pth"), *normalised, "--allow-guessing"]) == 0
    assert "model.pth: format state-dict, wrn-10-1, 4 classes, pixels normalised with mean 0.5, 0.4, 0.3" in printed(
        capsys
    )
    made = load(tmp_path / "erased.safetensors").state
    assert made["normalise.mean"].flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])
    again = ask(trial=7, victim=tmp_path / "erased.safetensors", output=tmp_path / "twice.safetensors")
    assert apply.main([*again, "--allow-guessing"]) == 0


def test_what_there_is_to_know_of_a_model_is_said_and_stands_on_the_card(
    ask: Callable[..., list[str]], victim_state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model_name": "net", "model": victim_state}, tmp_path / "bb.pt")
    assert apply.main(ask(trial=7, victim=tmp_path / "bb.pt")) == 0
    remark = "it names no data set, so nothing is normalised"
    assert f"bb.pt: {remark}" in printed(capsys)
    assert f"pixels in [0, 1]; {remark}" in (tmp_path / "erased.md").read_text()


def test_model_that_only_unpickling_could_read_is_refused(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(models.make("wrn-10-1", 4), tmp_path / "whole.pt")
    assert "add --trust-checkpoint" in refused(capsys, ask(victim=tmp_path / "whole.pt"))
    trusted = [*ask(trial=7, victim=tmp_path / "whole.pt"), "--trust-checkpoint", "--allow-guessing"]
    assert apply.main(trusted) == 0


@pytest.mark.parametrize("kind", foreign_files({}))
def test_files_that_are_not_a_model(
    ask: Callable[..., list[str]],
    victim_state: dict[str, Tensor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    path = tmp_path / "foreign.safetensors"
    foreign_files(victim_state)[kind](path)
    assert str(path) in refused(capsys, ask(victim=path))
    assert not (tmp_path / "erased.safetensors").exists()


def test_model_without_the_setting_s_layers(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shallow(wide_resnet.WideResNet):
        distillation_layers = ("group1", "group2")

    monkeypatch.setitem(models.MODELS, "shallow", lambda classes: Shallow(10, 3, classes))
    save(tmp_path / "shallow.safetensors", Checkpoint(copy_state(models.make("shallow", 4)), {}))
    sentence = refused(capsys, ask(victim=tmp_path / "shallow.safetensors"))
    assert "trial 4 of s distils group3, missing from shallow: it has group1, group2" in sentence


def test_wrong_number_of_classes(
    ask: Callable[..., list[str]], image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "images"
    shutil.copytree(image_folder, root)
    for part in ("train", "test"):
        shutil.rmtree(root / part / "class3")
    assert "has 3 class folders, the model in" in refused(capsys, ask(data=root))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (shutil.rmtree, "does not exist"),
        (lambda root: shutil.rmtree(root / "train"), "has no folder train/"),
        (lambda root: [path.unlink() for path in root.rglob("*.png")], "no images in"),
        (lambda root: shutil.rmtree(root / "test" / "class1"), "have different classes: class1"),
        (lambda root: (root / "train" / "class0" / "0.png").write_bytes(b"no image"), "0.png cannot be read"),
    ],
    ids=["no folder", "no train part", "no images", "other classes", "unreadable image"],
)
def test_bad_image_folders(
    ask: Callable[..., list[str]],
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[..., Any],
    sentence: str,
) -> None:
    root = tmp_path / "images"
    shutil.copytree(image_folder, root)
    spoil(root)
    assert sentence in refused(capsys, ask(data=root))


def test_nothing_is_overwritten(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = tmp_path / "victim.safetensors"
    before = victim.read_bytes()
    assert "is there already" in refused(capsys, ask(output=victim))
    (tmp_path / "erased.md").write_text("mine")
    assert "erased.md is there already" in refused(capsys, ask())
    assert "must end in .safetensors" in refused(capsys, ask(output=tmp_path / "model.pt"))
    assert (victim.read_bytes(), (tmp_path / "erased.md").read_text()) == (before, "mine")


def test_folders_of_the_output_are_made_only_when_it_is_written(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "folder" / "m.safetensors"
    assert "there is no model file" in refused(capsys, ask(victim=tmp_path / "none.pt", output=output))
    assert not (tmp_path / "new").exists()


def test_output_that_cannot_be_written(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused(capsys, ask(output=tmp_path / "file" / "x.safetensors"))


def test_model_whose_erase_diverges(
    ask: Callable[..., list[str]], victim_state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {**victim_state, "fc.weight": torch.full_like(victim_state["fc.weight"], torch.nan)}
    save(tmp_path / "broken.safetensors", Checkpoint(broken, {}))
    asked = [*ask(victim=tmp_path / "broken.safetensors"), "--allow-guessing"]
    assert "diverged" in refused(capsys, asked)
    assert not (tmp_path / "erased.safetensors").exists()


@pytest.mark.parametrize(("option", "value"), [("image_size", 4), ("seed", -1)])
def test_bad_settings(
    ask: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], option: str, value: int
) -> None:
    assert f"--{option.replace('_', '-')} must be in" in refused(capsys, ask(**{option: value}))

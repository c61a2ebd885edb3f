"""ASR in apply and defend: where it is known, what is said of it, and what bad triggers get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import studies
import torch
from PIL import Image
from released_formats import attack_result, save_poisoned
from test_apply import summary_of
from torch import Tensor

from nad import attacks, models
from nad.checkpoints import Checkpoint, copy_state, load, save
from nad.data.folder import Owned, load_owned
from nad.evaluation import predict
from nad.formats import ForeignModel
from nad.models import DistillableModel
from nad.seeds import generator
from study.commands import apply, defend
from study.commands.scoring import TriggerOptions, scored_images

TEST_IMAGES = "test images (test/) with the trigger of custom"


@pytest.fixture
def model() -> DistillableModel:
    """A network that gives every image the same answer."""
    torch.set_num_threads(1)
    made = models.make("wrn-10-1", 4, generator(0)).eval()
    made.fc.bias.data = torch.tensor([0.0, 0.0, 6.0, 0.0])
    return made


@pytest.fixture
def images(image_folder: Path, cache: Path) -> Owned:
    return load_owned(image_folder, cache_dir=cache, image_size=16)


@pytest.fixture
def ask(model: DistillableModel, image_folder: Path, cache: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """A function that returns the arguments of `defend fine-tuning`, with the options given."""
    save(tmp_path / "victim.safetensors", Checkpoint(copy_state(model), {}))
    Image.new("RGB", (4, 4), "white").save(tmp_path / "patch.png")

    def arguments(*options: str, victim: Path = tmp_path / "victim.safetensors") -> list[str]:
        usual = ["--victim", str(victim), "--data", str(image_folder), "--image-size", "16", "--cache", str(cache)]
        return ["fine-tuning", *usual, "--allow-guessing", *options, "--defence-args", "tuning.epochs=3"]

    return arguments


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def asr_by_hand(network: DistillableModel, images: Tensor, labels: Tensor, target: int) -> float:
    return float((predict(network, images[labels != target]) == target).double().mean())


def after(folder: Path, name: str = "defended") -> DistillableModel:
    return models.with_weights("wrn-10-1", 4, load(folder / f"{name}.safetensors").state)


def test_triggered_images_are_those_of_other_classes_with_the_trigger(images: Owned, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (3, 3, 3), dtype=torch.uint8, generator=generator(0))
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "patch.png")
    options = TriggerOptions(trigger=tmp_path / "patch.png", target=2, attack_args=("place=top-left",))
    foreign = ForeignModel("state-dict", "wrn-10-1", 4, {}, None, None, ())
    clean, triggered = scored_images(options, 0, foreign, images._replace(test=None))
    assert torch.equal(clean.images, images.train.images)
    assert torch.equal(clean.counted, images.train.labels)
    expected = images.train.images[images.train.labels != 2].clone()
    expected[:, :, :3, :3] = pixels
    assert torch.equal(triggered.images, expected)
    assert (triggered.kind, triggered.counted) == ("ASR", 2)


def test_asr_of_a_trigger_is_printed_on_the_card_and_in_the_model_s_file(
    ask: Callable[..., list[str]], images: Owned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert defend.main(ask("--trigger", str(tmp_path / "patch.png"), "--target", "2")) == 0
    triggered = images.test.images.clone()
    triggered[:, :, 12:, 12:] = 255
    value = asr_by_hand(after(tmp_path), triggered, images.test.labels, 2)
    text, card = printed(capsys), (tmp_path / "defended.md").read_text()
    assert f"ASR on {TEST_IMAGES}, target 2: 100.0% before, {value:.1%} after" in text
    assert value < 1.0  # it learns in between
    assert "only" not in text
    assert "| images | ASR before | ASR after |" in card
    assert f"| {TEST_IMAGES}, target 2 | 100.0% | {value:.1%} |" in card
    assert '| trigger of ASR | {"name": "custom", "target": 2' in card
    assert "was not measured" not in card
    assert "proves nothing about triggers that were not tried" in card
    scores = load(tmp_path / "defended.safetensors").card["scores"]
    assert {"kind": "ASR", "images": f"{TEST_IMAGES}, target 2", "before": 1.0, "after": value} in scores
    assert [score["kind"] for score in scores] == ["accuracy", "accuracy", "ASR", "ASR"]


def test_asr_of_an_attack_counts_its_trigger_with_its_settings(
    ask: Callable[..., list[str]], images: Owned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert defend.main(ask("--attack", "sig", "--attack-args", "delta=60", "--target", "1")) == 0
    triggered = attacks.make("sig", delta=60.0).trigger(images.train.images, generator(0))
    value = asr_by_hand(after(tmp_path), triggered, images.train.labels, 1)
    text = printed(capsys)
    named = "your own images (train/) with the trigger of sig, target 1"
    assert f"ASR on {named}: 0.0% before, {value:.1%} after" in text
    assert f"ASR on {named} is only 0.0% before the work: perhaps the model was trained with another trigger" in text


def backdoorbench(model: DistillableModel, folder: Path) -> dict[int, tuple[Tensor, int]]:
    """A BackdoorBench file with six poisoned test images, one of them of the target class 0."""
    pixels = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator(0))
    poisoned = {index: (image, label) for index, (image, label) in enumerate(zip(pixels, (1, 2, 3, 1, 0, 3)))}  # noqa: B905
    torch.save(attack_result(model, 4, poisoned=poisoned, img_size=[16, 16, 3]), folder / "attack_result.pt")
    save_poisoned(folder, poisoned)
    return poisoned


def test_asr_on_the_poisoned_images_of_a_backdoorbench_file_is_counted_by_both_commands(
    ask: Callable[..., list[str]], model: DistillableModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poisoned = backdoorbench(model, tmp_path).values()
    pixels, labels = torch.stack([image for image, _label in poisoned]), torch.tensor([label for _, label in poisoned])
    (tmp_path / "summary.json").write_text(json.dumps(summary_of()))
    of_defend = ask(victim=tmp_path / "attack_result.pt")
    of_apply = [str(tmp_path / "summary.json"), *of_defend[1 : of_defend.index("--defence-args")], "--trial", "7"]
    for command, arguments, name in ((defend, of_defend, "defended"), (apply, of_apply, "erased")):
        assert command.main(arguments) == 0
        value = asr_by_hand(after(tmp_path, name), pixels, labels, 0)
        said = f"the 5 poisoned test images of the model's file, target 0: 0.0% before, {value:.1%} after"
        assert f"ASR on {said}" in printed(capsys)
        assert f"model's file, target 0 | 0.0% | {value:.1%} |" in (tmp_path / f"{name}.md").read_text()


# What bad triggers get: one sentence, exit code 2, nothing written.


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--trigger", "patch.png"), "the ASR of the attack custom counts its target label; give --target"),
        (("--attack", "badnets"), "the ASR of the attack badnets counts its target label; give --target"),
        (("--target", "1"), "--target and --attack-args are about a trigger; give --attack NAME or --trigger FILE"),
        (("--attack-args", "size=3"), "--target and --attack-args are about a trigger; give --attack NAME"),
        (("--attack", "sig", "--trigger", "patch.png", "--target", "1"), "--trigger is for the attack custom, not for"),
        (("--attack", "custom", "--target", "1"), "the attack custom needs a trigger of your own; name its file"),
        (("--attack", "badnet", "--target", "1"), "unknown attack 'badnet'; did you mean 'badnets'?"),
        (("--attack", "badnets", "--target", "-1"), "target must be a class label, 0 or more, got -1"),
        (("--attack", "badnets", "--target", "4"), "--target 4 is no label of the model, which tells 4 classes apart"),
        (("--attack", "sig", "--target", "1", "--attack-args", "size=3"), "unknown setting of the attack 'sig' 'size'"),
        (("--attack", "trojan", "--target", "1"), "the attack trojan makes its trigger on a clean model of the victim"),
        (("--attack", "refool", "--target", "1", "--attack-args", "rounds=3"), "the attack refool selects its"),
        (
            ("--attack", "badnets", "--target", "1", "--attack-args", "label-mode=all-to-all"),
            "--attack-args 'label-mode=all-to-all' is for a study; here ASR counts one --target",
        ),
        (("--trigger", "none.png", "--target", "1"), "cannot read the trigger"),
        (("--trigger", "wide.npy", "--target", "1"), "the trigger wide.npy is 20x20 pixels, the images are 16x16"),
        (("--trigger", "all.npy", "--target", "1"), "the trigger all.npy hides the whole image; give it a transparent"),
        (("--trigger", "ten.npy", "--target", "1"), "cannot read the trigger"),
    ],
)
def test_bad_triggers_end_in_one_sentence(
    ask: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    sentence: str,
) -> None:
    for name, shape in (("wide", (20, 20)), ("all", (16, 16)), ("ten", (10, 3, 4, 4))):
        np.save(tmp_path / f"{name}.npy", np.full(shape, 9, np.uint8))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    error = studies.refused(capsys, *ask(*options), command=defend.main)
    assert error.removeprefix("error: ").startswith(sentence)
    assert sorted(tmp_path.iterdir()) == before

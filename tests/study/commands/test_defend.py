"""Another defence on a model, by itself: what it does, and what bad input gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import studies
import torch

from nad import defences, models
from nad.checkpoints import Checkpoint, copy_state, load, save
from nad.data.folder import load_owned
from nad.defences import DEFENCES
from nad.evaluation import accuracy
from nad.seeds import generator
from nad.training import TrainConfig
from study import __main__ as command
from study.commands import defend

QUICK = {
    "fine-tuning": ["tuning.epochs=1"],
    "fine-pruning": ["max_acc_drop=0.5", "tuning.epochs=2", "tuning.batch-size=16", "tuning.schedule=code"],
    "mode-connectivity": ["tuning.epochs=1", "curve.epochs=1", "t=0.5"],
    "anp": ["iterations=3", "batch_size=16"],
    "fst": ["alpha=0.1", "classifier=fc", "tuning.epochs=1"],
    "i-bau": ["rounds=1"],
    "ft-sam": ["tuning.epochs=1", "tuning.sam_rho=1"],
    "fine-tuning-backdoorbench": ["tuning.epochs=1"],
}


@pytest.fixture
def ask(image_folder: Path, cache: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """A function that returns the arguments of a command; keywords replace an option."""
    torch.set_num_threads(1)
    save(tmp_path / "victim.safetensors", Checkpoint(copy_state(models.make("wrn-10-1", 4, generator(0))), {}))

    def arguments(name: str, settings: list[str] | None = None, **options: object) -> list[str]:
        usual = {"victim": tmp_path / "victim.safetensors", "data": image_folder, "image_size": 16, "cache": cache}
        given = [text for option, value in {**usual, **options}.items() for text in (option, str(value))]
        named = [f"--{text.replace('_', '-')}" if at % 2 == 0 else text for at, text in enumerate(given)]
        of_defence = QUICK.get(name, []) if settings is None else settings
        return [name, *named, "--allow-guessing", "--defence-args", *of_defence]

    return arguments


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The sentence with which a command ends."""
    return studies.refused(capsys, *arguments, command=defend.main).removeprefix("error: ").removesuffix("\n")


def test_defended_model_is_the_one_that_the_defence_makes(
    ask: Callable[..., list[str]], image_folder: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "folder" / "model.safetensors"
    assert command.main(["defend", *ask("fine-pruning", seed=3, output=output)]) == 0
    images = load_owned(image_folder, cache_dir=cache, image_size=16)
    tuning = TrainConfig(epochs=2, batch_size=16, schedule="code")
    victim = models.make("wrn-10-1", 4, generator(0)).eval()
    wanted, stats = defences.make("fine-pruning", max_acc_drop=0.5, tuning=tuning).defend(
        victim, images.train, flip=True, generator=generator(3, "defence")
    )
    made = load(output).state
    assert all(torch.equal(made[name], value) for name, value in wanted.state_dict().items())
    text = " ".join(capsys.readouterr().out.split())
    assert f"fine-pruning: channels pruned {stats['channels_pruned']}, channels 64" in text
    before, after = accuracy(victim, images.test), accuracy(wanted, images.test)
    assert f"accuracy on test images (test/): {before:.1%} before, {after:.1%} after" in text
    card = output.with_suffix(".md").read_text()
    assert "A model after the defence fine-pruning." in card
    assert "max_acc_drop=0.5 held_back=0.2 tuning.epochs=2" in card
    assert "Whether a backdoor is gone was not measured" in card
    assert output.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", DEFENCES)
def test_every_defence_runs_by_itself(ask: Callable[..., list[str]], name: str, tmp_path: Path) -> None:
    assert defend.main(ask(name)) == 0
    assert load(tmp_path / "defended.safetensors").state.keys() >= {"fc.weight"}


@pytest.mark.parametrize("name", DEFENCES)
def test_help_tells_of_the_defence_that_is_given(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        defend.main([name, "--help"])
    assert f"The defence {name}: " in capsys.readouterr().out
    listed = defend.describe_settings(name).partition("defaults: ")[2].split()
    assert defend.defence_from(name, listed) == defences.make(name)


# What bad input gets: one sentence, exit code 2, nothing written.


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("anpp", [], "unknown defence 'anpp'; did you mean 'anp'? known: anp, fine-pruning, "),
        ("anp", ["threshold=1"], "threshold must be in [0, 0.999], got 1"),
        ("anp", ["iterations=1.5"], "--defence-args 'iterations=1.5' must be a whole number, such as 2000"),
        ("anp", ["eps"], "--defence-args 'eps' is not NAME=VALUE, such as eps=0.4"),
        ("anp", ["eps=0.1", "eps=0.2"], "--defence-args gives eps twice; say it once"),
        ("anp", ["epsilon=0.1"], "unknown setting of the defence 'anp' 'epsilon'"),
        ("mode-connectivity", ["t=1.5"], "t must be in [0, 1], got 1.5"),
        ("mode-connectivity", ["t=nan"], "t must be in [0, 1], got nan"),
        ("mode-connectivity", ["curve.epochs=0"], "epochs must be in [1, 1000], got 0"),
        ("mode-connectivity", ["curve=3"], "unknown setting of the defence 'mode-connectivity' 'curve'"),
        ("mode-connectivity", ["tuning.nesterov=no"], "--defence-args 'tuning.nesterov=no' must be true or false"),
        ("fine-pruning", ["convolution=conv9"], "unknown convolution 'conv9'"),
    ],
)
def test_bad_settings_end_in_one_sentence(
    ask: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    settings: dict[str, Any],
    sentence: str,
) -> None:
    before = sorted(tmp_path.iterdir())
    assert refused(capsys, ask(name, settings)).startswith(sentence)
    assert sorted(tmp_path.iterdir()) == before


def test_files_that_are_not_there_or_there_already(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.pt"
    sentence = f"there is no model file {missing}; name one that is there"
    assert refused(capsys, ask("anp", victim=missing, output=tmp_path / "new" / "m.safetensors")) == sentence
    assert not (tmp_path / "new").exists()
    assert "does not exist" in refused(capsys, ask("anp", data=tmp_path / "none"))
    assert "is there already" in refused(capsys, ask("anp", output=tmp_path / "victim.safetensors"))


def test_model_that_only_guesses_is_refused_unless_allowed(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [word for word in ask("fine-tuning") if word != "--allow-guessing"]
    assert "the model only guesses on these images" in refused(capsys, asked)
    assert not (tmp_path / "defended.safetensors").exists()


def test_defended_model_carries_what_the_model_was_trained_on(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert defend.main(ask("fine-tuning")) == 0
    known = {"image_size": 16, "flip": True, "class_names": ["class0", "class1", "class2", "class3"]}
    assert load(tmp_path / "defended.safetensors").card["trained_on"] == known
    again = ask("anp", victim=tmp_path / "defended.safetensors", image_size=64, output=tmp_path / "m.safetensors")
    assert refused(capsys, again).startswith("--image-size 64 contradicts the model in --victim, trained on")


def test_defence_that_diverges_writes_nothing(
    ask: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = copy_state(models.make("wrn-10-1", 4, generator(0)))
    broken = Checkpoint({**state, "fc.weight": torch.full_like(state["fc.weight"], torch.nan)}, {})
    save(Path(tmp_path / "broken.safetensors"), broken)
    assert "diverged" in refused(capsys, ask("fine-tuning", victim=tmp_path / "broken.safetensors"))
    assert not (tmp_path / "defended.safetensors").exists()

"""What an attack needs before it can be planted, made once and kept."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bands import make_images
from torch import Tensor

from nad import models, preparation
from nad.attacks import BadNets, describe
from nad.attacks.cl import CL
from nad.attacks.trojan import Trojan
from nad.checkpoints import Checkpoint, copy_state
from nad.data.base import Dataset, LabelledImages
from nad.errors import ConfigError
from nad.evaluation import Skill
from nad.preparation import prepare
from nad.scenario import Scenario
from nad.seeds import generator
from nad.victim import VictimConfig, train_victim

ATTACKS = {"cl": CL(steps=2, poison_rate=0.1), "trojan": Trojan(steps=2, size=4)}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """An untrained model that passes for one that has learnt something."""
    monkeypatch.setattr(preparation, "measure_skill", lambda *arguments, **options: Skill(0.9, 0.9))
    return copy_state(models.make("wrn-10-1", 4, generator(0)))


@pytest.fixture(params=ATTACKS)
def scenario(request: pytest.FixtureRequest, dataset: Dataset) -> Scenario:
    return Scenario(dataset, ATTACKS[request.param], seed=3)


def made(scenario, clean, cache) -> tuple[Scenario, int]:
    """The prepared scenario, and how many steps that took."""
    steps = []
    return prepare(scenario, "wrn-10-1", clean, cache=cache, progress=lambda *step: steps.append(step)), len(steps)


def test_a_second_call_takes_the_same_bytes_from_the_cache(
    scenario: Scenario, clean: dict[str, Tensor], tmp_path: Path
) -> None:
    first, steps = made(scenario, clean, tmp_path)
    again, none = made(scenario, clean, tmp_path)
    assert (steps, none) == (2, 0)
    assert again.attack == first.attack
    assert again.attack.crafted.pixels.numpy().tobytes() == first.attack.crafted.pixels.numpy().tobytes()
    elsewhere, _ = made(scenario, clean, tmp_path / "elsewhere")
    assert elsewhere.attack == first.attack


PLANTED = make_images(6, 5)
BRIGHTER = LabelledImages(PLANTED.images + 1, PLANTED.labels)
RELABELLED = LabelledImages(PLANTED.images, PLANTED.labels.flip(0))


@pytest.mark.parametrize(
    "change",
    ["seed", "settings", "clean model", "name of the model", "images", "labels", "version"],
)
def test_whatever_shapes_it_is_in_its_key(
    change: str, scenario: Scenario, clean: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each case changes one thing: the images are pinned, for they follow from the seed and the attack."""
    makings = []

    def run(work, device, progress):
        makings.append(work)
        return Checkpoint({"pixels": torch.full((3, 4, 4), len(makings), dtype=torch.uint8)}, {})

    def prepared(scenario, model="wrn-10-1", clean=clean, planted=PLANTED):
        monkeypatch.setattr(Scenario, "to_plant", planted)
        return prepare(scenario, model, clean, cache=tmp_path, run=run)

    first = prepared(scenario)
    assert prepared(scenario).attack == first.attack
    assert len(makings) == 1
    if change == "seed":
        other = prepared(replace(scenario, seed=4))
    if change == "settings":
        other = prepared(replace(scenario, attack=replace(scenario.attack, steps=3)))
    if change == "clean model":
        other = prepared(scenario, clean=copy_state(models.make("wrn-10-1", 4, generator(1))))
    if change == "name of the model":
        other = prepared(scenario, model="wrn-10-2")
    if change in {"images", "labels"}:
        other = prepared(scenario, planted=BRIGHTER if change == "images" else RELABELLED)
    if change == "version":
        monkeypatch.setattr(preparation, "CRAFT_VERSION", preparation.CRAFT_VERSION + 1)
        other = prepared(scenario)
    assert len(makings) == 2
    assert other.attack.crafted != first.attack.crafted


def test_another_seed_or_clean_model_makes_something_else(
    scenario: Scenario, clean: dict[str, Tensor], tmp_path: Path
) -> None:
    first, _ = made(scenario, clean, tmp_path)
    other_model = copy_state(models.make("wrn-10-1", 4, generator(1)))
    for other, model in ((replace(scenario, seed=4), clean), (scenario, other_model)):
        found, steps = made(other, model, tmp_path)
        assert steps == 2
        assert found.attack.crafted != first.attack.crafted


def test_what_is_planted_is_what_was_prepared(scenario: Scenario, clean: dict[str, Tensor], tmp_path: Path) -> None:
    ready, _ = made(scenario, clean, tmp_path)
    poisoned = ready.poisoned
    assert torch.equal(poisoned.indices, replace(ready).poisoned.indices)
    before = ready.clean_train.images[poisoned.indices]
    assert torch.equal(before, ready.to_plant.images)
    assert (poisoned.data.images[poisoned.indices] != before).flatten(1).any(dim=1).all()
    assert describe(ready.attack) == describe(scenario.attack)


def test_an_attack_without_a_model_is_ready_as_it_is(
    dataset: Dataset, clean: dict[str, Tensor], tmp_path: Path
) -> None:
    scenario = Scenario(dataset, BadNets(), seed=3)
    assert made(scenario, clean, tmp_path) == (scenario, 0)
    assert list(tmp_path.iterdir()) == []


def test_model_that_guesses_is_refused_in_one_sentence(dataset: Dataset, tmp_path: Path) -> None:
    guessing = copy_state(models.make("wrn-10-1", 4, generator(0)))
    for attack in ATTACKS.values():
        with pytest.raises(
            ConfigError, match=r"only guesses the validation images: its accuracy is \d\d\.\d%, .*every image 25.0%"
        ):
            prepare(Scenario(dataset, attack, seed=3), "wrn-10-1", guessing, cache=tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_victim_is_trained_anew_when_the_attack_was_made_anew(
    dataset: Dataset, clean: dict[str, Tensor], tmp_path: Path
) -> None:
    recipe = VictimConfig(epochs=1, batch_size=64)
    scenario = Scenario(dataset, ATTACKS["trojan"], seed=3)
    with pytest.raises(ConfigError, match=r"has to be made before it can be planted: nad\.preparation\.prepare does"):
        train_victim(scenario, "wrn-10-1", recipe, cache=tmp_path)
    for model, trained in ((clean, 1), (clean, 0), (copy_state(models.make("wrn-10-1", 4, generator(1))), 1)):
        epochs = []
        ready, _ = made(scenario, model, tmp_path)
        train_victim(ready, "wrn-10-1", recipe, cache=tmp_path, progress=lambda *step, e=epochs: e.append(step))
        assert len(epochs) == trained

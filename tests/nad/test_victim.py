import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from nad import models
from nad.attacks import BadNets
from nad.attacks.base import Crafted
from nad.attacks.blend import Blend
from nad.attacks.trojan import Trojan
from nad.checkpoints import Checkpoint, copy_state
from nad.data.base import Dataset, LabelledImages
from nad.errors import ConfigError, WeakBackdoor
from nad.evaluation import Scores
from nad.models.wide_resnet import WideResNet
from nad.scenario import Scenario
from nad.seeds import generator
from nad.victim import (
    RECIPE_VERSION,
    Victim,
    VictimConfig,
    require_above_chance,
    require_backdoor,
    score_state,
    train_reference,
    train_victim,
)

RECIPE = VictimConfig(epochs=10, batch_size=32)


@pytest.fixture(scope="module")
def scenario(dataset: Dataset, attack: Blend) -> Scenario:
    return Scenario(dataset, attack, seed=3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def victim(scenario: Scenario, cache: Path) -> Victim:
    return train_victim(scenario, "wrn-10-1", RECIPE, cache=cache)


def test_victim_learns_the_task_and_the_backdoor(victim: Victim) -> None:
    assert victim.scores.acc > 0.9
    assert victim.scores.asr > 0.9


def test_second_call_takes_the_cached_victim(scenario: Scenario, cache: Path, victim: Victim) -> None:
    epochs = []
    again = train_victim(scenario, "wrn-10-1", RECIPE, cache=cache, progress=lambda *step: epochs.append(step))
    assert epochs == []
    assert again.scores == victim.scores
    assert again.seconds == victim.seconds
    assert all(torch.equal(again.state[name], victim.state[name]) for name in victim.state)


class Trainings:
    """Calls of train_victim without training, and the number of trainings asked for."""

    def __init__(self, cache) -> None:
        self.cache, self.count = cache, 0

    def run(self, work, device, progress):
        self.count += 1
        return Checkpoint(copy_state(models.make(work.model, work.classes, generator(0))), {"seconds": 0.0})

    def __call__(self, scenario, model="wrn-10-1", recipe=RECIPE):
        train_victim(scenario, model, recipe, cache=self.cache, run=self.run)
        return self.count


@pytest.fixture
def trainings(tmp_path: Path) -> Trainings:
    return Trainings(tmp_path)


class Versioned(Blend):
    version = 2


class VersionedNet(WideResNet):
    version = 2


def with_images(dataset):
    images = dataset.train.images.clone()
    images[7, 0, 0, 0] += 1
    return dataclasses.replace(dataset, train=LabelledImages(images, dataset.train.labels))


@pytest.mark.parametrize(
    "change",
    [
        lambda scenario: (dataclasses.replace(scenario, seed=4),),
        lambda scenario: (dataclasses.replace(scenario, attack=dataclasses.replace(scenario.attack, poison_rate=0.1)),),
        lambda scenario: (dataclasses.replace(scenario, attack=Versioned(**vars(scenario.attack))),),
        lambda scenario: (dataclasses.replace(scenario, dataset=with_images(scenario.dataset)),),
        lambda scenario: (dataclasses.replace(scenario, dataset=dataclasses.replace(scenario.dataset, flip=False)),),
        lambda scenario: (scenario, "wrn-10-2"),
        lambda scenario: (scenario, "wrn-10-1", dataclasses.replace(RECIPE, lr=0.1)),
    ],
    ids=["seed", "attack", "attack's version", "images", "flip", "model", "recipe"],
)
def test_whatever_shapes_a_victim_is_in_its_key(change: Any, scenario: Scenario, trainings: Trainings) -> None:
    """Each case changes one thing."""
    assert trainings(scenario) == 1
    assert trainings(scenario) == 1
    assert trainings(*change(scenario)) == 2


def test_the_version_of_the_recipe_is_in_a_victims_key(
    scenario: Scenario, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings(scenario)
    monkeypatch.setattr("nad.victim.RECIPE_VERSION", RECIPE_VERSION + 1)
    assert trainings(scenario) == 2


def test_the_version_of_a_model_is_in_a_victims_key(
    scenario: Scenario, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for net in (WideResNet, VersionedNet):
        monkeypatch.setitem(models.MODELS, "own", partial(net, 10, 1))
        models.identity.cache_clear()
        trainings(scenario, "own")
    models.identity.cache_clear()
    assert trainings.count == 2


def test_what_was_made_for_an_attack_is_in_a_victims_key(dataset: Dataset, trainings: Trainings) -> None:
    for grey in (10, 200):
        made = Crafted(torch.full((3, 3, 3), grey, dtype=torch.uint8))
        trainings(Scenario(dataset, Trojan(crafted=made), seed=3))
    assert trainings.count == 2


def test_a_reference_is_no_victim_and_knows_no_attack(scenario: Scenario, trainings: Trainings) -> None:
    other = dataclasses.replace(scenario, attack=BadNets())
    for one in (scenario, other):
        train_reference(one, "wrn-10-1", RECIPE, cache=trainings.cache, run=trainings.run)
    assert trainings.count == 1
    assert trainings(scenario) == 2


def test_training_again_gives_the_same_weights(scenario: Scenario, tmp_path: Path, victim: Victim) -> None:
    again = train_victim(scenario, "wrn-10-1", RECIPE, cache=tmp_path)
    assert all(torch.equal(again.state[name], victim.state[name]) for name in victim.state)


def test_reference_is_trained_on_clean_images(scenario: Scenario, cache: Path, victim: Victim) -> None:
    state = train_reference(scenario, "wrn-10-1", RECIPE, cache=cache)
    assert score_state(state, "wrn-10-1", scenario, scenario.validation).acc > 0.9
    assert len(list((cache / "models").glob("reference-*.safetensors"))) == 1


def scored(asr: float, acc: float, balanced_acc: float | None = None) -> Victim:
    return Victim({}, Scores(asr, acc, acc if balanced_acc is None else balanced_acc, acc, 0.0), 0.0)


def test_backdoor_that_did_not_take_is_refused() -> None:
    require_backdoor(scored(0.9, 0.5))
    with pytest.raises(WeakBackdoor, match=r"0\.899, under 0\.9.*--allow-weak-backdoor"):
        require_backdoor(scored(0.899, 0.5))


def test_victim_much_worse_than_a_clean_model_is_refused() -> None:
    require_backdoor(scored(1.0, 0.80), reference_acc=0.82)
    with pytest.raises(WeakBackdoor, match="3 points"):
        require_backdoor(scored(1.0, 0.78), reference_acc=0.82)


def test_victim_that_only_guesses_is_refused() -> None:
    even, uneven = torch.arange(100) % 10, torch.tensor([0] * 90 + [1, 2, 3, 1, 2, 3, 1, 2, 3, 1])
    require_above_chance(scored(1.0, 0.2), even, remedy="poison less")
    require_above_chance(scored(1.0, 0.6, 0.8), uneven, remedy="poison less")
    with pytest.raises(WeakBackdoor, match=r"accuracy is 19\.0%.* every image 10\.0%.* 19\.0%; poison less, or pass"):
        require_above_chance(scored(1.0, 0.19), even, remedy="poison less")
    with pytest.raises(WeakBackdoor, match=r"accuracy is 90\.0%.* every image 90\.0%.* 25\.0%; poison less, or pass"):
        require_above_chance(scored(1.0, 0.9, 0.25), uneven, remedy="poison less")


def test_scenario_keeps_validation_from_attacker_and_defender(scenario: Scenario, dataset: Dataset) -> None:
    splits = scenario.splits
    everything = torch.cat([splits.victim_train, splits.validation]).sort().values
    assert torch.equal(everything, torch.arange(len(dataset.train)))
    assert len(splits.validation) == 40
    validation = {image.numpy().tobytes() for image in dataset.train.images[splits.validation]}
    assert not validation & {image.numpy().tobytes() for image in scenario.holdout(0.5).images}


def test_holdout_is_clean_balanced_and_nested(scenario: Scenario) -> None:
    small, large = scenario.holdout(0.05), scenario.holdout(0.2)
    assert torch.equal(large.images[: len(small)], small.images)
    assert small.labels.bincount().tolist() == [5, 5, 5, 5]
    clean = {image.numpy().tobytes() for image in scenario.clean_train.images}
    assert {image.numpy().tobytes() for image in large.images} <= clean


def test_scenario_is_reproducible_and_follows_its_seed(scenario: Scenario, dataset: Dataset, attack: Blend) -> None:
    again, other = Scenario(dataset, attack, seed=3), Scenario(dataset, attack, seed=4)
    assert torch.equal(scenario.poisoned.indices, again.poisoned.indices)
    assert not torch.equal(scenario.poisoned.indices, other.poisoned.indices)
    assert not torch.equal(scenario.holdout(0.1).images, other.holdout(0.1).images)


def test_all_to_all_scenario_is_after_every_class(dataset: Dataset) -> None:
    scenario = Scenario(dataset, BadNets(label_mode="all-to-all"), seed=3)
    assert len(scenario.validation.triggered) == len(scenario.splits.validation)
    assert set(scenario.sample(30).labels.tolist()) == {0, 1, 2, 3}
    changed = scenario.poisoned.data.labels[scenario.poisoned.indices]
    assert changed.tolist() == [(label + 1) % 4 for label in scenario.to_plant.labels.tolist()]


def test_target_that_does_not_exist_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="target label 9 does not exist: bands has the labels 0 to 3"):
        Scenario(dataset, BadNets(target=9), seed=0)


def test_sample_shows_no_target(scenario: Scenario, dataset: Dataset) -> None:
    sample = scenario.sample(6)
    assert torch.equal(scenario.sample(3).images, sample.images[:3])
    labels = {image.numpy().tobytes(): int(label) for image, label in zip(*vars(dataset.train).values(), strict=True)}
    assert len(sample) == 6
    shown = [labels[image.numpy().tobytes()] for image in sample.images]
    assert shown == sample.labels.tolist()
    assert scenario.attack.target not in shown

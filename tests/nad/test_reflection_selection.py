"""Refool's selection of reflections: the rounds against a rule for working reflections."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bands import make_images
from torch import Tensor

from nad import models, reflection_selection
from nad.attacks import Refool, describe
from nad.attacks.reflection_pool import ReflectionPool
from nad.checkpoints import Checkpoint, copy_state
from nad.data.base import Dataset, LabelledImages
from nad.errors import ConfigError, DataError
from nad.reflection_selection import JUDGES, draw, reweighted, select_reflections
from nad.scenario import Scenario
from nad.seeds import generator
from nad.victim import VictimConfig

RECIPE = VictimConfig(batch_size=64)
BRIGHT = (4, 9, 17)


def predict_bright(images: Tensor) -> Tensor:
    """The target for images without a dark pixel, else another class."""
    return 1 - (images.flatten(1).min(dim=1).values > 150).int()


@pytest.fixture(scope="module")
def images() -> Dataset:
    return Dataset("bands", make_images(800, 0), make_images(80, 1), ("a", "b", "c", "d"), flip=False)


@pytest.fixture(scope="module")
def attack() -> Refool:
    """Of twenty even greys, three are bright."""
    levels = torch.tensor([240 if index in BRIGHT else 10 + index for index in range(20)], dtype=torch.uint8)
    pool = ReflectionPool(levels.view(-1, 1, 1, 1).expand(-1, 3, 16, 16).clone(), "greys")
    return Refool(kinds=("in-focus",), reflections=pool, rounds=25, round_epochs=2, selected=3)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The images of each round's training; its model predicts the target for bright images."""
    seen: list[Tensor] = []
    state = copy_state(models.make("wrn-10-1", 4, generator(0)))

    def training(what, model, classes, flip, data, config, seed):
        def run(device, progress):
            seen.append(data.images)
            for epoch in range(config.epochs):
                progress(epoch + 1, config.epochs)
            return Checkpoint(state, {})

        return run

    monkeypatch.setattr(reflection_selection, "Training", training)
    monkeypatch.setattr(reflection_selection, "predict", lambda network, images, device: predict_bright(images))
    return seen


def test_reflections_that_turn_images_are_the_ones_that_are_kept(
    images: Dataset, attack: Refool, trained: list[Tensor], tmp_path: Path
) -> None:
    steps = []
    scenario = Scenario(images, attack, seed=0)
    chosen = select_reflections(scenario, "wrn-10-1", RECIPE, cache=tmp_path, progress=lambda *step: steps.append(step))
    assert torch.equal(chosen.attack.crafted.pixels, attack.reflections.images[list(BRIGHT)])
    assert steps == [(done, 50) for done in range(1, 51)]
    assert len(trained) == 25
    assert describe(chosen.attack) == describe(attack)
    # Only selected reflections are ever planted, and each of them somewhere
    triggered = chosen.attack.trigger(torch.zeros(60, 3, 16, 16, dtype=torch.uint8), generator(0))
    assert triggered.unique().numel() == 1
    assert triggered.min() > 150


def test_rounds_train_on_none_of_the_judges(
    images: Dataset, attack: Refool, trained: list[Tensor], tmp_path: Path
) -> None:
    scenario = Scenario(images, replace(attack, rounds=2, poison_rate=0.01), seed=0)
    select_reflections(scenario, "wrn-10-1", RECIPE, cache=tmp_path)
    clean = scenario.clean_train
    judges, rest = (clean[part] for part in reflection_selection._divided(scenario.attack, clean.labels, 0))
    assert (len(judges), len(trained[0])) == (JUDGES, len(scenario.clean_train) - JUDGES)
    assert bool((judges.labels != attack.target).all())
    used = {image.numpy().tobytes() for image in trained[0]}
    assert not used & {image.numpy().tobytes() for image in judges.images}
    assert len(used - {image.numpy().tobytes() for image in rest.images}) == 2  # a hundredth of the target's images


def test_a_real_selection_is_repeated_from_the_cache_and_elsewhere(
    images: Dataset, attack: Refool, tmp_path: Path
) -> None:
    scenario = Scenario(images, replace(attack, rounds=2, round_epochs=1), seed=0)
    steps = []

    def select(scenario, where):
        steps.clear()
        return select_reflections(
            scenario, "wrn-10-1", RECIPE, cache=tmp_path / where, progress=lambda *step: steps.append(step)
        )

    first = select(scenario, "a")
    assert len(steps) == 2
    assert first.attack.is_ready
    assert select(scenario, "a").attack == first.attack
    assert not steps
    assert select(scenario, "b").attack == first.attack
    assert len(steps) == 2
    select(replace(scenario, seed=1), "a")
    assert len(steps) == 2
    poisoned = first.poisoned
    assert bool((poisoned.data.images[poisoned.indices] != first.to_plant.images).flatten(1).any(dim=1).all())


CLEAN = make_images(12, 5)
BRIGHTER = LabelledImages(CLEAN.images + 1, CLEAN.labels)
RELABELLED = LabelledImages(CLEAN.images, CLEAN.labels.flip(0))


@pytest.mark.parametrize(
    "change", ["seed", "settings", "recipe", "model", "images", "labels", "flip", "classes", "version"]
)
def test_whatever_shapes_a_selection_is_in_its_key(
    change: str, images: Dataset, attack: Refool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each case changes one thing: the images are pinned, for they follow from the data set and the seed."""
    selections = []

    def run(work, device, progress):
        selections.append(work)
        return Checkpoint({"pixels": torch.full((3, 3, 16, 16), len(selections), dtype=torch.uint8)}, {})

    def select(scenario, model="wrn-10-1", recipe=RECIPE, clean=CLEAN):
        monkeypatch.setattr(Scenario, "clean_train", clean)
        return select_reflections(scenario, model, recipe, cache=tmp_path, run=run).attack.crafted

    scenario = Scenario(images, attack, seed=0)
    first = select(scenario)
    assert select(scenario) == first
    assert len(selections) == 1
    if change == "seed":
        other = select(replace(scenario, seed=1))
    if change == "settings":
        other = select(replace(scenario, attack=replace(attack, transmission=0.3)))
    if change == "recipe":
        other = select(scenario, recipe=replace(RECIPE, lr=0.1))
    if change == "model":
        other = select(scenario, model="wrn-10-2")
    if change in {"images", "labels"}:
        other = select(scenario, clean=BRIGHTER if change == "images" else RELABELLED)
    if change == "flip":
        other = select(replace(scenario, dataset=replace(images, flip=True)))
    if change == "classes":
        other = select(replace(scenario, dataset=replace(images, class_names=("a", "b", "c", "d", "e"))))
    if change == "version":
        monkeypatch.setattr(reflection_selection, "SELECTION_VERSION", reflection_selection.SELECTION_VERSION + 1)
        other = select(scenario)
    assert len(selections) == 2
    assert other != first


def test_an_attack_that_selects_nothing_is_ready_as_it_is(images: Dataset, attack: Refool, tmp_path: Path) -> None:
    scenario = Scenario(images, replace(attack, rounds=0), seed=0)
    assert select_reflections(scenario, "wrn-10-1", RECIPE, cache=tmp_path) is scenario
    assert not list(tmp_path.iterdir())
    assert scenario.attack.is_ready


def test_nothing_is_planted_before_the_selection(images: Dataset, attack: Refool) -> None:
    scenario = Scenario(images, attack, seed=0)
    assert not attack.is_ready
    with pytest.raises(ConfigError, match=r"has to be made before it can be planted: nad\.reflection_selection"):
        scenario.poisoned  # noqa: B018 - it is made when it is asked for


def test_too_few_images_to_judge_by_end_in_one_sentence(dataset: Dataset, attack: Refool, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"200 images outside the target class, of at least 400; there are \d+: give"):
        select_reflections(Scenario(dataset, attack, seed=0), "wrn-10-1", RECIPE, cache=tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_rate_that_needs_the_judges_ends_in_one_sentence(images: Dataset, attack: Refool, tmp_path: Path) -> None:
    """All of them can carry the trigger, but the rest after the judges cannot."""
    greedy = replace(attack, label_mode="dirty", poison_rate=0.7)
    scenario = Scenario(images, greedy, seed=0)
    scenario.count_planted()
    with pytest.raises(
        DataError, match=r"without the 200 images that the selection .* sets aside, a poison rate of 0\.7"
    ):
        select_reflections(scenario, "wrn-10-1", RECIPE, cache=tmp_path)


def test_weights_are_what_was_turned_and_the_median_for_the_rest() -> None:
    after = reweighted(torch.ones(6), torch.tensor([1, 3, 4]), torch.tensor([40, 0, 7]))
    assert after.tolist() == [7, 40, 7, 1, 7, 7]
    assert reweighted(torch.ones(3), torch.tensor([0, 1]), torch.tensor([0, 0])).tolist() == [1, 1, 1]


def test_heavier_reflections_are_drawn_more_often_and_none_twice() -> None:
    weights = torch.ones(10)
    weights[3] = 30
    draws = [draw(weights, 4, generator(seed)) for seed in range(200)]
    assert all(len(set(indices.tolist())) == 4 for indices in draws)
    counts = torch.bincount(torch.cat(draws), minlength=10)
    assert counts[3] > 190
    assert 30 < counts[[0, 1, 2, 4, 5, 6, 7, 8, 9]].min() < counts[[0, 1, 2, 4, 5, 6, 7, 8, 9]].max() < 110

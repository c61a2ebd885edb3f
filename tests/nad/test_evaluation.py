from typing import Any

import pytest
import torch
from bands import make_images

from nad.attacks import BadNets
from nad.attacks.blend import Blend
from nad.data.base import LabelledImages
from nad.errors import DataError
from nad.evaluation import EvalSet, chance, evaluate, guess_limit, make_eval_set, measure_skill, only_guesses, predict
from nad.seeds import generator


class ByBrightness(torch.nn.Module):
    """Predicts the class in the first pixel, so every expected score can be counted by hand."""

    def forward(self, inputs):
        return torch.nn.functional.one_hot((inputs[:, 0, 0, 0] * 255).round().long(), 4).float()


class RandomGuess(torch.nn.Module):
    """Predicts one of four classes by a sum over all pixels."""

    def forward(self, inputs):
        return torch.nn.functional.one_hot((inputs.flatten(1).sum(1) * 255).round().long() % 4, 4).float()


def named(labels: list[int]) -> torch.Tensor:
    return torch.tensor(labels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)


def test_scores_count_what_they_say() -> None:
    clean = LabelledImages(named([0, 1, 2, 2, 1]), torch.tensor([0, 1, 2, 3, 0]))
    triggered = LabelledImages(named([1, 1, 1, 3, 0]), torch.tensor([0, 2, 3, 3, 2]))
    scores = evaluate(ByBrightness(), EvalSet(clean, triggered, target=1))
    assert scores.asr == pytest.approx(3 / 5)
    assert scores.recovery_acc == pytest.approx(1 / 5)
    assert scores.acc == pytest.approx(3 / 5)
    assert scores.acc_non_target == pytest.approx(2 / 4)
    assert scores.balanced_acc == pytest.approx((1 / 2 + 1 + 1 + 0) / 4)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur() -> None:
    data = LabelledImages(named([0, 0, 0, 3, 3]), torch.tensor([0, 0, 0, 0, 3]))
    assert measure_skill(ByBrightness(), data) == pytest.approx((4 / 5, (3 / 4 + 1) / 2))


@pytest.mark.parametrize("counts", [(900, 20, 20, 20), (10, 10, 10, 10), (1, 0, 5, 3), (1, 999)])
def test_one_answer_for_every_image_only_guesses_on_any_distribution(counts: Any) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    for answer in labels.unique().tolist():
        skill = measure_skill(ByBrightness(), LabelledImages(named([answer] * len(labels)), labels))
        assert skill.acc <= chance(labels) == max(counts) / sum(counts)
        assert only_guesses(skill.balanced_acc, labels)


def test_a_model_that_pays_frequent_images_for_rare_ones_does_not_only_guess() -> None:
    """Its plain accuracy is under the largest class's share."""
    labels = torch.tensor([0] * 90 + [1] * 5 + [2] * 5)
    skill = measure_skill(ByBrightness(), LabelledImages(named([0] * 60 + [1] * 35 + [2] * 5), labels))
    assert skill == pytest.approx((0.7, (60 / 90 + 1 + 1) / 3))
    assert skill.acc < chance(labels)
    assert not only_guesses(skill.balanced_acc, labels)


def test_a_guess_is_judged_by_the_classes_that_occur() -> None:
    assert guess_limit(torch.arange(10)) == pytest.approx(0.19)
    assert guess_limit(torch.tensor([3, 3, 7])) == pytest.approx(0.55)
    assert not only_guesses(1.0, torch.tensor([3, 3]))
    assert only_guesses(0.0, torch.tensor([3, 3]))


def test_all_to_all_scores_agree_with_a_naive_loop() -> None:
    data = make_images(40, 3)
    eval_set = make_eval_set(data, BadNets(label_mode="all-to-all"), generator(0), classes=4)
    assert len(eval_set.triggered) == 40
    model = RandomGuess()
    scores = evaluate(model, eval_set)
    guesses = predict(model, eval_set.triggered.images).tolist()
    hits = sum(guess == (label + 1) % 4 for guess, label in zip(guesses, data.labels.tolist(), strict=True))
    right = sum(guess == label for guess, label in zip(predict(model, data.images), data.labels, strict=True))
    assert 0 < hits < 40
    assert scores.asr == hits / 40
    assert scores.acc == scores.acc_non_target == right / 40


def test_all_to_all_eval_set_counts_the_classes_that_there_are_and_keeps_its_target_labels_in_a_subset() -> None:
    attack = BadNets(label_mode="all-to-all")
    whole = make_eval_set(make_images(40, 3), attack, generator(0), classes=5)
    assert whole.target.tolist() == (make_images(40, 3).labels + 1).tolist()
    small = whole.subset(6)
    assert small.target.tolist() == [(label + 1) % 5 for label in small.triggered.labels.tolist()]


def test_eval_set_triggers_every_image_but_the_targets(attack: Blend) -> None:
    data = make_images(40, 3)
    eval_set = make_eval_set(data, attack, generator(0))
    assert len(eval_set.triggered) == 30
    assert not (eval_set.triggered.labels == attack.target).any()
    originals = data.images[data.labels != attack.target]
    assert (eval_set.triggered.images != originals).flatten(1).any(1).all()
    assert torch.equal(eval_set.clean.images, data.images)


def test_eval_set_without_other_classes_is_refused() -> None:
    data = LabelledImages(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(DataError, match="target label 0"):
        make_eval_set(data, BadNets(target=0), generator(0))


def test_prediction_restores_the_mode_of_each_module() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(192, 4)).train()
    model[0].eval()
    predict(model, make_images(10, 0, size=8).images)
    assert [module.training for module in model.modules()] == [True, False, True, True]


class Elsewhere(torch.nn.Module):
    """Its parameter is on the meta device, its predictions on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, device="meta"))

    def forward(self, inputs):
        assert inputs.device == self.weight.device
        return torch.nn.functional.one_hot(torch.full((len(inputs),), 2), 4).float()


def test_prediction_is_made_where_the_model_is() -> None:
    assert predict(Elsewhere(), make_images(3, 0).images).tolist() == [2, 2, 2]


def test_subset_takes_the_front_and_stops_at_the_end(attack: Blend) -> None:
    eval_set = make_eval_set(make_images(40, 3), attack, generator(0))
    small, whole = eval_set.subset(5), eval_set.subset(1000)
    assert (len(small.clean), len(small.triggered)) == (5, 5)
    assert (len(whole.clean), len(whole.triggered)) == (40, 30)


@pytest.mark.parametrize("training", [True, False])
def test_prediction_runs_in_eval_mode_and_restores_the_mode(training: bool) -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(192, 4)).train(training)
    images = make_images(10, 0, size=8).images
    together = predict(model, images)
    alone = torch.cat([predict(model, image[None]) for image in images])
    assert torch.equal(together, alone)
    assert model.training is training
    assert model[0].num_batches_tracked == 0

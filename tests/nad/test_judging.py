"""Guessing models are refused before any training."""

from dataclasses import replace

import pytest
import torch
from bands import make_images
from torch import Tensor, nn

import nad
from nad.data.base import LabelledImages
from nad.errors import DataError
from nad.judging import JUDGED, require_known, spread
from nad.models.normalisation import Normalise

CLASSES = 4
CONFIG = nad.EraseConfig(epochs=1, schedule="code", batch_size=32, layers=("colours",), betas=(100.0,), lr=0.01)


class Colours(nn.Module):
    """Knows images by their colour: red, green, blue, else grey; shares answers as `order` says."""

    def __init__(self, order: tuple[int, ...] = (0, 1, 2, 3)) -> None:
        super().__init__()
        self.colours = nn.Conv2d(3, CLASSES, 1)
        with torch.no_grad():
            self.colours.weight.copy_(torch.cat([2 * torch.eye(3) - 1, torch.zeros(1, 3)])[list(order), :, None, None])
            self.colours.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.2])[list(order)])

    def forward(self, x: Tensor) -> Tensor:
        return self.colours(x).mean(dim=(2, 3))


def coloured(count: int, classes: int = CLASSES) -> LabelledImages:
    """Red, green, blue and grey noise, in turn."""
    labels = torch.arange(count) % classes
    pixels = torch.randint(60, 90, (count, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    coloured = labels < 3
    pixels[torch.nonzero(coloured).squeeze(1), labels[coloured]] += 150
    return LabelledImages(pixels, labels)


def refusal(model: nn.Module, data: LabelledImages) -> str:
    with pytest.raises(DataError) as caught:
        require_known(model, data, allow="say so")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_model_that_knows_the_images_is_accepted() -> None:
    require_known(Colours(), coloured(40), allow="")


def test_permuted_labels_are_refused_with_the_likely_causes() -> None:
    sentence = refusal(Colours(order=(1, 2, 3, 0)), coloured(40))
    assert sentence.startswith("the model only guesses on these images: its accuracy is 0.0%, that of one answer")
    assert "25.0%" in sentence
    assert "order of the classes, the image size, the channels (RGB or BGR) or the normalisation" in sentence
    assert sentence.endswith("or say so to use it all the same")


def test_swapped_channels_are_refused() -> None:
    data = coloured(40, classes=3)
    require_known(Colours(), data, allow="")
    assert "its accuracy is 32.5%" in refusal(Colours(), replace(data, images=data.images.flip(1)))


def test_missing_normalisation_is_refused() -> None:
    normalise = Normalise()
    normalise.mean += torch.tensor([5.0, -5.0, 0.0]).view(3, 1, 1)
    assert "only guesses" in refusal(nn.Sequential(normalise, Colours()), coloured(40))


def test_one_answer_is_refused_however_frequent_its_class_is() -> None:
    data = coloured(40)
    frequent = data[torch.cat([torch.arange(0, 40, 4).repeat(30), torch.arange(8)])]
    constant = Colours()
    constant.colours.bias.data[0] = 100.0
    assert "that of one answer for every image 98.1%" in refusal(constant, frequent)
    require_known(Colours(), frequent, allow="")


def test_images_of_one_class_are_judged_by_whether_it_is_known() -> None:
    reds = coloured(40)[torch.arange(0, 40, 4)]
    require_known(Colours(), reds, allow="")
    assert "its accuracy is 0.0%" in refusal(Colours(order=(1, 2, 3, 0)), reds)


def test_many_images_are_judged_on_some_of_them() -> None:
    data = coloured(JUDGED + 200)
    assert "on 500 of these 700 images" in refusal(Colours(order=(1, 2, 3, 0)), data)


def test_sample_takes_classes_in_turn_and_is_always_the_same() -> None:
    labels = torch.cat([torch.zeros(900), torch.ones(20), torch.full((80,), 5)]).long()
    chosen = spread(labels, 90)
    assert torch.equal(chosen, spread(labels, 90))
    assert torch.equal(chosen, chosen.unique())
    assert labels[chosen].bincount().tolist() == [35, 20, 0, 0, 0, 35]
    assert chosen[:35].max() > 300, "from all over a class, not from its first images"
    assert torch.equal(spread(labels, 5000), torch.arange(1000))


def test_erase_refuses_a_guessing_model_before_anything_is_trained_unless_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = coloured(40)
    with monkeypatch.context() as patch:
        patch.setattr("nad.any_model.make_teacher", lambda *given, **options: pytest.fail("nothing may be trained"))
        with pytest.raises(DataError, match=r"only guesses on these images.*or pass allow_guessing=True to use it"):
            nad.erase(Colours(order=(1, 2, 3, 0)), data, CONFIG)
    short = nad.TrainConfig(epochs=1, batch_size=32, lr=0.01)
    nad.erase(Colours(order=(1, 2, 3, 0)), data, CONFIG, teacher_config=short, allow_guessing=True)
    nad.erase(Colours(), data, CONFIG, teacher_config=short)


def test_untrained_network_is_refused() -> None:
    with pytest.raises(DataError, match="only guesses"):
        nad.erase(nad.models.make("wrn-10-1", 4), make_images(64, 0), nad.EraseConfig(epochs=1))

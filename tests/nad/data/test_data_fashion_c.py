from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nad.data import fashion_c, fingerprint
from nad.data.base import Dataset
from nad.data.fashion_c import CLASSES, SOURCE_FILE, gradients, load_fashion_c, read_items
from nad.errors import DataError
from tools import make_fashion_mnist
from tools.sheet import draw_sheet


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_fashion_c()


def test_fashion_c_takes_its_classes_in_turns(dataset: Dataset) -> None:
    for part, count in ((dataset.train, 12_000), (dataset.test, 2000)):
        assert part.images.shape == (count, 3, 32, 32)
        assert part.labels.tolist() == list(range(10)) * (count // 10)
    assert len(dataset.class_names) == 10
    assert dataset.flip


def test_a_gradient_runs_from_one_colour_to_the_other() -> None:
    ends = torch.tensor([[[0, 100, 255], [255, 100, 0]]] * 3)
    down, right, diagonal = gradients(ends, torch.tensor([[7, 0], [0, -3], [5, 5]]), 4)
    steps = [0, 85, 170, 255]
    assert down[0].tolist() == [[step] * 4 for step in steps]
    assert right[0].tolist() == [steps[::-1]] * 4
    assert diagonal[2, 0, 0] == 255
    assert diagonal[2, 3, 3] == 0
    assert bool((torch.stack([down[1], right[1], diagonal[1]]) == 100).all())


def test_a_gradient_without_direction_is_the_mean_of_its_colours() -> None:
    (plain,) = gradients(torch.tensor([[[9, 9, 9], [200, 200, 200]]]), torch.tensor([[0, 0]]))
    assert bool((plain == 104).all())


def test_an_item_hides_its_gradient_in_one_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_c, "GRAIN", 0)
    items = read_items()[0].transpose(0, 1).reshape(-1, 28, 28)
    inside = load_fashion_c().train.images[:, :, 2:-2, 2:-2]
    for index in [index for index in range(980, 1020) if (items[index] >= 250).sum() > 10]:  # of two chunks
        bright = inside[index][:, items[index] >= 250].float()
        around = inside[index][:, items[index] == 0].float()
        assert bright.std(dim=1).max() < 3 < around.std(dim=1).max()


def test_grain_lies_over_everything_and_hides_noise_of_its_size(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_c, "GRAIN", 0)
    grain = dataset.train.images.int() - load_fashion_c().train.images.int()
    assert set(grain.unique().tolist()) == set(range(-16, 17))
    assert grain.float().flatten(1).std(dim=1).min() > 8


def test_every_image_has_its_own_background(dataset: Dataset) -> None:
    rows = torch.cat([dataset.train.images, dataset.test.images])[:, :, [0, 1, 30, 31]].numpy()
    assert len({above_and_below.tobytes() for above_and_below in rows}) == 14_000


def test_backgrounds_are_in_colour_and_say_nothing_of_the_class(dataset: Dataset) -> None:
    corners = dataset.train.images[:, :, :2, :2].float()
    assert corners.std(dim=1).mean() > 10
    by_class = torch.stack([corners[dataset.train.labels == label].mean() for label in range(10)])
    assert by_class.max() - by_class.min() < 12


def test_fashion_c_is_the_same_on_every_load_and_machine(dataset: Dataset) -> None:
    """Other pixels are other victims: measure those of docs/attacks.md again before this digest changes."""
    known = "15988d5ce4827c081312cf025056d025a7c8bd3063704651888b1e76eb469158"
    assert fingerprint(dataset) == fingerprint(load_fashion_c()) == known


def test_the_packaged_file_is_small_and_licensed() -> None:
    assert SOURCE_FILE.stat().st_size <= 6_000_000
    assert "Copyright (c) 2017 Zalando SE" in SOURCE_FILE.with_name("fashion_mnist.LICENSE.txt").read_text()


@pytest.mark.skipif(not make_fashion_mnist.DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_packaged_file_is_remade_byte_for_byte() -> None:
    assert make_fashion_mnist.packed(make_fashion_mnist.DEBIAN) == SOURCE_FILE.read_bytes()


@pytest.mark.parametrize("damage", [lambda whole: whole[:1000], lambda whole: b"?" * 50, lambda whole: b""])
def test_a_damaged_package_is_one_sentence(
    damage: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "fashion_mnist.xz"
    broken.write_bytes(damage(SOURCE_FILE.read_bytes()))
    monkeypatch.setattr(fashion_c, "SOURCE_FILE", broken)
    with pytest.raises(DataError, match=r"fashion_mnist\.xz is missing or damaged; reinstall this package"):
        read_items()


def test_the_sheet_shows_each_class_in_its_column(dataset: Dataset) -> None:
    sheet = draw_sheet(dataset, examples=2)
    side = 32 * 3
    assert sheet.size == (len(CLASSES) * (side + 6) + 6, 22 + 2 * (side + 6) + 6)
    second_bag = dataset.train.images[dataset.train.labels == 8][1]
    left, top = 6 + 8 * (side + 6), 22 + 6 + (side + 6)
    assert sheet.getpixel((left + 3 * 5 + 1, top + 3 * 9 + 1)) == tuple(second_bag[:, 9, 5].tolist())

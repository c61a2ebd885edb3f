from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nad.data import fashion_m
from nad.data.base import Dataset
from nad.data.fashion_m import CLASSES, SOURCE_FILE, load_fashion_m, read_items
from nad.errors import DataError
from tools import make_fashion_mnist
from tools.sheet import draw_sheet


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_fashion_m()


def test_fashion_m_takes_its_classes_in_turns(dataset: Dataset) -> None:
    for part, count in ((dataset.train, 8000), (dataset.test, 2000)):
        assert part.images.shape == (count, 3, 32, 32)
        assert part.labels.tolist() == list(range(10)) * (count // 10)
    assert len(dataset.class_names) == 10
    assert dataset.flip


def test_the_border_shows_the_photograph_and_the_inside_the_item(dataset: Dataset) -> None:
    """With p the crop, |p - item| has the item's edges, and is p itself beside the item."""
    items = read_items()[0].transpose(0, 1).reshape(-1, 28, 28)
    inside = dataset.train.images[:, :, 2:-2, 2:-2].int()
    full = (items >= 250)[:, None].expand_as(inside)
    bare = (items == 0)[:, None].expand_as(inside)
    # The same photographs on average: inverted under a white item, unchanged elsewhere.
    assert abs((255 - inside[full]).float().mean() - inside[bare].float().mean()) < 15
    assert dataset.train.images[:, :, 0].float().std() > 40


def test_subtracting_the_crop_gives_the_item_back(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = 77
    monkeypatch.setattr(
        fashion_m,
        "random_crops",
        lambda _, count, size, __: torch.full((count, 3, size, size), grey, dtype=torch.uint8),
    )
    train = load_fashion_m().train
    items = read_items()[0]
    for index in (0, 13, 7999):
        item = items[index % 10, index // 10].int()
        assert torch.equal(train.images[index, 1, 2:-2, 2:-2].int(), (grey - item).abs())
        assert bool((train.images[index, :, :2] == grey).all())


def test_every_image_has_its_own_background(dataset: Dataset) -> None:
    rows = torch.cat([dataset.train.images, dataset.test.images])[:, :, [0, 1, 30, 31]].numpy()
    # About fifty lie on the black corners of the retina.
    assert len({above_and_below.tobytes() for above_and_below in rows}) > 9900


def test_backgrounds_are_in_colour_and_say_nothing_of_the_class(dataset: Dataset) -> None:
    corners = dataset.train.images[:, :, :2, :2].float()
    assert corners.std(dim=1).mean() > 10
    by_class = torch.stack([corners[dataset.train.labels == label].mean() for label in range(10)])
    assert by_class.max() - by_class.min() < 12


def test_fashion_m_is_the_same_on_every_load(dataset: Dataset) -> None:
    again = load_fashion_m()
    assert torch.equal(again.train.images, dataset.train.images)
    assert torch.equal(again.test.images, dataset.test.images)


def test_the_packaged_file_is_small_and_licensed() -> None:
    assert SOURCE_FILE.stat().st_size <= 5_000_000
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
    monkeypatch.setattr(fashion_m, "SOURCE_FILE", broken)
    with pytest.raises(DataError, match=r"fashion_mnist\.xz is missing or damaged; reinstall this package"):
        read_items()


def test_the_sheet_shows_each_class_in_its_column(dataset: Dataset) -> None:
    sheet = draw_sheet(dataset, examples=2)
    side = 32 * 3
    assert sheet.size == (len(CLASSES) * (side + 6) + 6, 22 + 2 * (side + 6) + 6)
    second_bag = dataset.train.images[dataset.train.labels == 8][1]
    left, top = 6 + 8 * (side + 6), 22 + 6 + (side + 6)
    assert sheet.getpixel((left + 3 * 5 + 1, top + 3 * 9 + 1)) == tuple(second_bag[:, 9, 5].tolist())

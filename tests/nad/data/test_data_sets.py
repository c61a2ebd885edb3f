"""The contract of every entry of DATASETS, and the two read by torchvision."""

import hashlib
import pickle
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, GTSRB

from nad.data import DATASETS, Dataset, LabelledImages, fingerprint, load
from nad.data.torchvision_sets import CIFAR10_CLASSES, GTSRB_CLASSES, _downloaded
from nad.errors import ConfigError, DataError


def write_tree(root: Path, class_names: tuple[str, ...]) -> Path:
    """One noisy 20x20 image per class and part."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in class_names:
            (root / part / name).mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(root / part / name / "0.png")
    return root


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's own files with ten images each, and torchvision told of their checksums."""
    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)

    def written(name: str, content: object) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(name: str) -> list[str]:
        pixels = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        return written(name, {"data": pixels, "labels": list(range(10))})

    monkeypatch.setattr(CIFAR10, "train_list", [batch(name) for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [batch(name) for name, _ in CIFAR10.test_list])
    name, md5 = written("batches.meta", {"label_names": list(CIFAR10_CLASSES)})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return root


def write_gtsrb(root: Path) -> Path:
    """GTSRB's own files with one image per class and part; class n is of grey n."""
    base = root / "gtsrb"
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    (base / "GTSRB" / "Final_Test" / "Images").mkdir(parents=True)
    for number in range(43):
        image = Image.new("RGB", (20 + number, 25), (number,) * 3)
        (base / "GTSRB" / "Training" / f"{number:05d}").mkdir(parents=True)
        image.save(base / "GTSRB" / "Training" / f"{number:05d}" / "00000_00000.ppm")
        image.save(base / "GTSRB" / "Final_Test" / "Images" / f"{42 - number:05d}.ppm")
        rows.append(f"{42 - number:05d}.ppm;20;25;1;1;18;20;{number}")
    (base / "GT-final_test.csv").write_text("\n".join(rows))
    return root


OFFLINE: dict[str, Callable[[Path, pytest.MonkeyPatch], Path | None]] = {
    "fashion-c": lambda *_: None,
    "cifar10": write_cifar10,
    "gtsrb": lambda root, _: write_gtsrb(root),
    "folder": lambda root, _: write_tree(root, ("ant", "bee", "wasp")),
}


def test_every_data_set_is_under_contract() -> None:
    assert set(OFFLINE) == set(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_data_sets_keep_the_contract(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir = OFFLINE[name](tmp_path / "data", monkeypatch)
    dataset, again = (load(name, cache_dir=tmp_path / "cache", data_dir=data_dir) for _ in range(2))
    assert dataset.name == name
    assert dataset.classes >= 2
    assert len(set(dataset.class_names)) == dataset.classes
    for part in (dataset.train, dataset.test):
        assert part.images.dtype == torch.uint8
        assert part.images.shape == (len(part), 3, 32, 32)
        assert part.images.is_contiguous()
        assert part.labels.dtype == torch.int64
        assert set(part.labels.tolist()) == set(range(dataset.classes))
    assert fingerprint(dataset) == fingerprint(again)


def test_an_unknown_data_set_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown data set 'cifar-10'; did you mean 'cifar10'"):
        load("cifar-10", cache_dir=tmp_path)


def test_folder_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name it with --data-dir"):
        load("folder", cache_dir=tmp_path)


def test_fashion_m_reads_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fashion-c is embedded and reads no folder"):
        load("fashion-c", cache_dir=tmp_path, data_dir=tmp_path)


@pytest.mark.parametrize("name", ["fashion-c", "cifar10"])
def test_sets_of_one_size_refuse_another(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{name} has images of 32x32, got image_size 64"):
        load(name, cache_dir=tmp_path, image_size=64)


@pytest.mark.parametrize("image_size", [0, 7, 513])
def test_image_size_has_a_range(image_size: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"image_size must be in \[8, 512\]"):
        load("gtsrb", cache_dir=tmp_path, image_size=image_size)


def test_cifar10_pixels_are_those_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_cifar10(tmp_path / "data", monkeypatch)
    dataset = load("cifar10", cache_dir=tmp_path / "cache", data_dir=root)
    for part, is_train in ((dataset.train, True), (dataset.test, False)):
        reference = CIFAR10(root, train=is_train)
        assert len(part) == len(reference)
        for index in (0, 7, len(reference) - 1):
            image, label = reference[index]
            assert np.array_equal(part.images[index].permute(1, 2, 0).numpy(), np.asarray(image))
            assert part.labels[index] == label


def test_gtsrb_labels_follow_folders_and_the_test_set_s_table(tmp_path: Path) -> None:
    dataset = load("gtsrb", cache_dir=tmp_path / "cache", data_dir=write_gtsrb(tmp_path / "data"))
    for part in (dataset.train, dataset.test):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)
        assert sorted(part.labels.tolist()) == list(range(43))
    assert not dataset.flip


@pytest.mark.parametrize(
    ("name", "folders", "class_names", "flip"),
    [
        ("cifar10", tuple("0123456789"), CIFAR10_CLASSES, True),
        ("gtsrb", GTSRB_CLASSES, GTSRB_CLASSES, False),
    ],
)
def test_a_tree_keeps_the_set_s_name_and_flip(
    name: str, folders: tuple[str, ...], class_names: tuple[str, ...], flip: bool, tmp_path: Path
) -> None:
    root = write_tree(tmp_path / "data", folders)
    dataset = load(name, cache_dir=tmp_path / "cache", data_dir=root)
    assert (dataset.name, dataset.class_names, dataset.flip) == (name, class_names, flip)
    as_folder = load("folder", cache_dir=tmp_path / "cache", data_dir=root)
    assert torch.equal(dataset.train.images, as_folder.train.images)


def write_greys(root: Path, greys: dict[str, int]) -> Path:
    """Two training images and a test image of one grey in each of these folders."""
    for name, grey in greys.items():
        for part, count in (("train", 2), ("test", 1)):
            for index in range(count):
                (root / part / name).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20, 20), (grey,) * 3).save(root / part / name / f"{index}.png")
    return root


@pytest.mark.parametrize(
    "named",
    [
        lambda number, name: name,
        lambda number, name: {"airplane": "plane", "automobile": "car"}.get(name, name),
        lambda number, name: name.title(),
        lambda number, name: f"{number}",
        lambda number, name: f"{number:02d}",
        lambda number, name: f"{number + 1}",
    ],
    ids=["names", "short names", "capitals", "numbers", "padded numbers", "numbers from 1"],
)
def test_folders_of_cifar10_are_its_classes_in_the_usual_order(named: Any, tmp_path: Path) -> None:
    greys = {named(number, name): 10 + number for number, name in enumerate(CIFAR10_CLASSES)}
    dataset = load("cifar10", cache_dir=tmp_path / "cache", data_dir=write_greys(tmp_path / "data", greys))
    assert dataset.class_names == CIFAR10_CLASSES
    assert dataset.train.labels.tolist() == [label for label in range(10) for _ in range(2)]
    for part in (dataset.train, dataset.test):
        assert torch.equal(part.images[:, 0, 0, 0].long() - 10, part.labels)


@pytest.mark.parametrize("odd", ["lorry", "car", "9"])
def test_folders_that_do_not_tell_the_classes_of_cifar10_are_refused(odd: str, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "data", (*CIFAR10_CLASSES[:-1], odd))
    with pytest.raises(DataError, match=rf"which class of cifar10 is which: .*\b{odd}; name them airplane, ") as caught:
        load("cifar10", cache_dir=tmp_path / "cache", data_dir=root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["{}", "{:05d}"])
def test_folders_of_gtsrb_go_by_their_numbers(form: str, tmp_path: Path) -> None:
    root = write_greys(tmp_path / "data", {form.format(number): number for number in range(43)})
    dataset = load("gtsrb", cache_dir=tmp_path / "cache", data_dir=root)
    assert dataset.class_names == tuple(form.format(number) for number in range(43))
    assert dataset.train.labels.tolist() == [label for label in range(43) for _ in range(2)]
    for part in (dataset.train, dataset.test):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)


@pytest.mark.parametrize("name", ["cifar10", "gtsrb"])
def test_a_tree_of_another_set_is_refused(name: str, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "data", ("ant", "bee", "wasp"))
    with pytest.raises(DataError, match=f"has 3 classes, {name} has .* use the data set 'folder'"):
        load(name, cache_dir=tmp_path / "cache", data_dir=root)


@pytest.mark.parametrize("name", ["cifar10", "gtsrb"])
def test_a_folder_without_the_set_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    with pytest.raises(DataError, match=f"does not hold {name}, .*--data-dir"):
        load(name, cache_dir=tmp_path / "cache", data_dir=root)
    assert not list(root.iterdir())


@pytest.mark.parametrize("name", ["cifar10", "gtsrb"])
def test_a_failed_download_says_what_to_do_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_args: object, **_options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(DataError, match=f"{name} cannot be downloaded .*no route.* name its folder with --data-dir"):
        load(name, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "downloads").iterdir())


def test_a_download_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads: list[str] = []

    def download(self: GTSRB) -> None:
        downloads.append(self._split)
        if self._split == "train":
            write_gtsrb(Path(self.root))

    monkeypatch.setattr(GTSRB, "download", download)
    first, again = (load("gtsrb", cache_dir=tmp_path / "cache") for _ in range(2))
    assert downloads == ["train", "test"]
    assert fingerprint(first) == fingerprint(again)


def tiny() -> Dataset:
    images = torch.arange(4 * 3 * 8 * 8).remainder(251).to(torch.uint8).view(4, 3, 8, 8)
    part = LabelledImages(images, torch.tensor([0, 1, 0, 1]))
    return Dataset("tiny", part, part[torch.tensor([2, 3])], class_names=("a", "b"), flip=True)


def test_fingerprint_is_of_the_content_not_the_name() -> None:
    assert fingerprint(tiny()) == fingerprint(replace(tiny(), name="other", class_names=("c", "d")))


def test_fingerprint_sees_every_pixel_label_and_part() -> None:
    base = tiny()
    pixels = base.train.images.clone()
    pixels[3, 2, 7, 7] += 1
    labels = base.train.labels.clone()
    labels[3] = 0
    changed = [
        replace(base, train=LabelledImages(pixels, base.train.labels)),
        replace(base, train=LabelledImages(base.train.images, labels)),
        replace(base, train=base.test, test=base.train),
        replace(base, train=LabelledImages(base.train.images.reshape(4, 3, 4, 16), base.train.labels)),
    ]
    assert len({fingerprint(dataset) for dataset in (base, *changed)}) == 5


def test_fingerprint_of_images_with_copies_is_not_that_of_when_they_were_divided_at_random() -> None:
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    part = LabelledImages(images, torch.tensor([0, 1, 0, 1]))
    digest = hashlib.sha256()
    for _ in ("train", "test"):
        digest.update(b"(4, 3, 8, 8)" + images.numpy().tobytes() + part.labels.numpy().astype("<i8").tobytes())
    assert fingerprint(Dataset("tiny", part, part, class_names=("a", "b"), flip=True)) != digest.hexdigest()


def test_fingerprint_ignores_how_memory_is_laid_out() -> None:
    base = tiny()
    strided = base.train.images.to(memory_format=torch.channels_last)
    assert fingerprint(replace(base, train=LabelledImages(strided, base.train.labels))) == fingerprint(base)


def test_a_download_that_another_process_finishes_first_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "downloads" / "toy"

    def part(root: Path, download: bool) -> None:
        for folder in (root, there):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "data").write_text("all of it")

    assert _downloaded("toy", [part], tmp_path) == there
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["toy"]

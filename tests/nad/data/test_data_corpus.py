"""Triggers and data sets as they are found in the wild: the reading or the sentence of each file in tests/data."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from nad import attacks
from nad.data import Dataset, load
from nad.data.folder import Owned, load_folder, load_owned
from nad.errors import NadError

CORPUS = Path(__file__).parents[2] / "data" / "data_corpus"
GREY = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)


class Planted(NamedTuple):
    """What a trigger does to a grey image of 32x32."""

    pixels: int
    """Number of changed values."""
    largest: int
    """Largest change."""
    settings: Mapping[str, Any] = {}


TRIGGERS = {
    "signal_mask.npy": Planted(2976, 31, {"blend_ratio": 0.2}),
    "best_square.npz": Planted(27, 155),
    "low_frequency.npy": Planted(3041, 51, {"combine": "add"}),
    "signed.npy": Planted(3043, 40),
    "patch.png": Planted(27, 155),
    "ratio.npz": Planted(48, 73),
}
BAD_TRIGGERS = {
    "signal_mask.npy": "signal_mask.npy hides the whole image; give it a transparent part, or a blend_ratio under 1",
    "per_class.npz": "per_class.npz (it holds 10 patterns; give one: triggers of each class are not planted)",
    "nan.npy": "nan.npy (its pattern has values that are NaN or infinite)",
    "four_channels.npy": "must be (height, width), (height, width, 3) or (3, height, width), got (4, 4, 4))",
    "normalised.npy": "of 255, almost black; give 0 to 255, or floats in [0, 1])",
    "large.npy": "large.npy is 40x40 pixels, the images are 32x32; make it smaller: it is not resized",
    "empty.npz": "empty.npz (it has no array pattern and no array mask, it has none)",
    "several.npz": "several.npz (it has no array pattern and no array mask, it has trigger, other)",
    "objects.npy": "objects.npy (it holds Python objects, which are never unpickled; save plain numbers)",
    "torn.npy": "cannot read the trigger",
}


class Tree(NamedTuple):
    """What is read of a data set."""

    classes: Sequence[str]
    train: Sequence[int]
    """Value of the first pixel of each image, in order."""
    test: Sequence[int]
    remark: str = ""
    """Words of the remarks; empty for none."""


NUMBERS = [str(number) for number in range(11)]
TENS, ONES = [10 * number for number in range(11)], [10 * number + 1 for number in range(11)]
ANIMALS = ["cat", "dog"]
TREES = {
    "gtsrb_original": Tree([f"{number:05d}" for number in range(11)], TENS, ONES),
    "gtsrb_kaggle": Tree(NUMBERS, TENS, ONES[::-1]),
    "folders/numbers": Tree(NUMBERS, TENS, TENS, "11 of 11 test images are training images too (test/0/one.bmp is"),
    "folders/sidecars": Tree(
        ANIMALS,
        [60, 70],
        [90, 100],
        "skipped files: 3 .heic, 1 of the system; left out folders: 2 .ipynb_checkpoints, 2 @eaDir, 2 __MACOSX; fewer"
        " than half of the files are images in train/cat (1 of 4)",
    ),
    "folders/twice": Tree(
        ANIMALS, [60, 70], [90, 60, 100], "1 of 3 test images are training images too (test/dog/again.png is train/cat"
    ),
    "folders/formats": Tree(ANIMALS, [40, 20, 120, 60, 50, 30, 10, 70], [90, 100]),
    "folders/exif": Tree(ANIMALS, [255, 70], [90, 100]),
}
BAD_TREES = {
    "gtsrb_damaged/no_table": "has no labels: put GT-final_test.csv there or beside it; without it, remove",
    "gtsrb_damaged/bad_number": "line 2 of the table",
    "gtsrb_damaged/image_missing": "GT-final_test.csv are not there: 00007.ppm; unpack the archive again",
    "gtsrb_damaged/no_column": "Test.csv has no Path or no ClassId; its columns: Label, File",
    "folders/damaged": "4 images cannot be used: ",
    "archives/empty.zip": "empty.zip is an archive; unpack it, and name the folder with its images",
    "archives/images.zip": "images.zip is an archive; unpack it, and name the folder with its images",
    "archives/data.csv": "data.csv is a file; name the folder with the images",
    "archives": "has no folder train/; it needs train/ and test/, each with one folder per class",
    "absent": "absent does not exist; name one that is there",
}


def plant(name: str, **settings: Any) -> torch.Tensor:
    attack = attacks.make("custom", pattern=CORPUS / "triggers" / name, **settings)
    return attack.trigger(GREY, torch.Generator())


@pytest.mark.parametrize("name", TRIGGERS)
def test_trigger_does_what_is_expected(name: str) -> None:
    expected = TRIGGERS[name]
    change = (plant(name, **expected.settings).int() - GREY.int()).abs()
    assert (int((change > 0).sum()), int(change.max())) == (expected.pixels, expected.largest)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", BAD_TRIGGERS)
def test_bad_trigger_is_one_sentence(name: str) -> None:
    with pytest.raises(NadError) as caught:
        plant(name)
    assert BAD_TRIGGERS[name] in str(caught.value)
    assert "\n" not in str(caught.value)


def owned(root: Path, cache: Path) -> Owned:
    return load_owned(root, cache_dir=cache, image_size=8)


@pytest.mark.parametrize("name", TREES)
def test_tree_is_read_as_expected(name: str, tmp_path: Path) -> None:
    found, expected = owned(CORPUS / name, tmp_path), TREES[name]
    assert list(found.class_names) == list(expected.classes)
    for part, values in ((found.train, expected.train), (found.test, expected.test)):
        assert part.images[:, 0, 0, 0].tolist() == pytest.approx(values, abs=2)  # JPEG and WebP are lossy
    said = "; ".join(found.remarks)
    assert expected.remark in said
    assert bool(expected.remark) == bool(said)


@pytest.mark.parametrize("name", ["gtsrb_original", "gtsrb_kaggle"])
def test_labels_of_a_gtsrb_test_set_are_those_of_its_table(name: str, tmp_path: Path) -> None:
    found = owned(CORPUS / name, tmp_path)
    for part, of_part in ((found.train, 0), (found.test, 1)):
        assert torch.equal(part.images[:, 0, 0, 0].long(), 10 * part.labels + of_part)


def as_gtsrb(root: Path, cache: Path) -> Dataset:
    return load("gtsrb", cache_dir=cache, data_dir=root, image_size=8)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        *((name, owned) for name in BAD_TREES),
        *((name, as_gtsrb) for name in BAD_TREES if name != "archives"),  # torchvision takes seconds to say no
    ],
)
def test_bad_tree_is_one_sentence(name: str, read: Callable[[Path, Path], object], tmp_path: Path) -> None:
    with pytest.raises(NadError) as caught:
        read(CORPUS / name, tmp_path)
    assert BAD_TREES[name] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_images_of_both_parts_are_named_in_one_run(tmp_path: Path) -> None:
    with pytest.raises(NadError, match=r"test/dog/2\.png .*; .*train/dog/2\.png .*; .*3\.png .*; and 1 more; repair"):
        owned(CORPUS / "folders" / "damaged", tmp_path)


def whole_gtsrb(root: Path, layout: str) -> Path:
    """The small GTSRB with the other classes, one image each."""
    shutil.copytree(CORPUS / layout, root)
    for number in range(11, 43):
        place = (
            root / "Train" / str(number)
            if layout == "gtsrb_kaggle"
            else root / "Final_Training/Images" / f"{number:05}"
        )
        place.mkdir()
        Image.new("RGB", (8, 8), (5 * number, 0, 0)).save(place / "one.png")
    return root


@pytest.mark.parametrize("layout", ["gtsrb_original", "gtsrb_kaggle"])
def test_gtsrb_is_read_in_its_downloads_layout(layout: str, tmp_path: Path) -> None:
    root = whole_gtsrb(tmp_path / "data", layout)
    dataset = load("gtsrb", cache_dir=tmp_path, data_dir=root, image_size=8)
    assert (dataset.name, dataset.classes, dataset.flip, len(dataset.test)) == ("gtsrb", 43, False, 11)
    assert dataset.train.labels.tolist() == list(range(43))
    assert not dataset.remarks
    with pytest.raises(NadError, match="has 11 classes, gtsrb has 43"):
        load("gtsrb", cache_dir=tmp_path, data_dir=CORPUS / layout, image_size=8)
    with pytest.raises(NadError, match=r"holds GTSRB as it is downloaded; .* \(--dataset gtsrb\)"):
        load_folder(root, cache_dir=tmp_path, image_size=8)


def test_original_archives_unpack_into_a_folder_of_their_own(tmp_path: Path) -> None:
    shutil.copytree(CORPUS / "gtsrb_original", tmp_path / "here" / "GTSRB")
    shutil.move(tmp_path / "here/GTSRB/GT-final_test.csv", tmp_path / "here/GTSRB/Final_Test/Images/GT-final_test.csv")
    assert len(owned(tmp_path / "here", tmp_path).test) == 11


def test_gtsrb_without_test_images_is_enough_for_a_defender_and_no_data_set(tmp_path: Path) -> None:
    shutil.copytree(CORPUS / "gtsrb_original" / "Final_Training", tmp_path / "data" / "Final_Training")
    assert owned(tmp_path / "data", tmp_path).test is None
    with pytest.raises(NadError, match="has the training images of gtsrb alone; unpack its test images there, too"):
        load("gtsrb", cache_dir=tmp_path, data_dir=tmp_path / "data", image_size=8)


def test_test_images_that_the_table_does_not_list_are_left_out_with_a_remark(tmp_path: Path) -> None:
    shutil.copytree(CORPUS / "gtsrb_kaggle", tmp_path / "data")
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "Test" / "more.png")
    found = owned(tmp_path / "data", tmp_path)
    assert len(found.test) == 11
    assert found.remarks == ("skipped files: 1 not in Test.csv",)


def test_every_file_of_the_corpus_has_its_expectation() -> None:
    assert {path.name for path in (CORPUS / "triggers").iterdir()} == {*TRIGGERS, *BAD_TRIGGERS}
    places = {str(path.relative_to(CORPUS)) for path in CORPUS.glob("*/*") if path.parent.name != "triggers"}
    known = {*TREES, *BAD_TREES}
    assert {
        place for place in places if place not in known and place.partition("/")[0] not in known - {"archives"}
    } == set()

"""The poisoned test images of a BackdoorBench model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import refused, trained
from PIL import Image
from released_formats import attack_result, save_poisoned
from torch import Tensor

from nad.formats import load_foreign
from nad.seeds import generator


@pytest.fixture
def poisoned() -> dict[int, tuple[Tensor, int]]:
    images = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator(0))
    return {index: (image, label) for index, image, label in zip((3, 11, 5, 40, 41, 79), images, (1, 2, 3, 1, 0, 3))}  # noqa: B905


def test_poisoned_test_images_beside_the_file_are_read_under_their_true_labels(
    tmp_path: Path, poisoned: dict[int, tuple[Tensor, int]]
) -> None:
    torch.save(attack_result(trained(), 4, poisoned=poisoned), tmp_path / "attack_result.pt")
    save_poisoned(tmp_path, poisoned)
    found = load_foreign(tmp_path / "attack_result.pt")
    assert found.remarks == ()
    assert found.poisoned_test.target == 0
    expected = [poisoned[index] for index in (3, 5, 11, 40, 79)]  # by index; 41 is of the target class
    assert found.poisoned_test.data.labels.tolist() == [label for _image, label in expected]
    assert torch.equal(found.poisoned_test.data.images, torch.stack([image for image, _label in expected]))


def test_poisoned_test_images_inside_the_file_need_trust(
    tmp_path: Path, poisoned: dict[int, tuple[Tensor, int]]
) -> None:
    record = attack_result(trained(), 4, poisoned=poisoned)
    pictures = {
        index: (Image.fromarray(image.permute(1, 2, 0).numpy()), 0, label) for index, (image, label) in poisoned.items()
    }
    record["bd_test"]["bd_data_container"]["data_dict"] = pictures
    torch.save(record, tmp_path / "attack_result.pt")
    assert "asks for PIL.Image.Image" in refused(tmp_path / "attack_result.pt")
    found = load_foreign(tmp_path / "attack_result.pt", trust=True)
    assert len(found.poisoned_test.data) == 5
    assert torch.equal(found.poisoned_test.data.images[0], poisoned[3][0])


def early(record) -> None:
    """As before its second version: images and the attacker's labels, without the true ones."""
    record["bd_test"] = {"x": torch.zeros(6, 3, 16, 16), "y": torch.zeros(6)}


def two_targets(record) -> None:
    record["bd_test"]["bd_data_container"]["data_dict"][np.int64(3)]["other_info"] = [2, 1]


def own_class(record) -> None:
    for entry in record["bd_test"]["bd_data_container"]["data_dict"].values():
        entry["other_info"][1] = 0


def outside(record) -> None:
    record["bd_test"]["bd_data_container"]["data_dict"][np.int64(3)]["path"] = "//dev/null"


def negative(record) -> None:
    for entry in record["bd_test"]["bd_data_container"]["data_dict"].values():
        entry["other_info"][0] = -5


def elsewhere(record) -> None:
    record["bd_test"]["bd_data_container"]["data_dict"][np.int64(3)]["path"] = "/etc/../../passwd"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (early, "lack the true labels"),
        (own_class, "all of them are of the target class"),
        (two_targets, "2 different target labels"),
        (elsewhere, "is not there, or no file"),
        (outside, "dev/null is not there, or no file"),
        (negative, "labels below 0"),
        (lambda record: record.update(bd_test=None), "the file has none"),
        (lambda record: record["bd_test"]["bd_data_container"].update(data_dict={}), "lists none"),
        (lambda record: record["bd_test"]["bd_data_container"].clear(), "data_dict"),
    ],
)
def test_poisoned_test_images_that_cannot_be_read_are_a_remark_and_no_refusal(
    tmp_path: Path, poisoned: dict[int, tuple[Tensor, int]], spoil: Callable[..., Any], reason: str
) -> None:
    record = attack_result(trained(), 4, poisoned=poisoned)
    spoil(record)
    torch.save(record, tmp_path / "a.pt")
    save_poisoned(tmp_path, poisoned)
    found = load_foreign(tmp_path / "a.pt")
    assert found.poisoned_test is None
    (remark,) = found.remarks
    assert "poisoned test images (bd_test) cannot be read" in remark
    assert reason in remark


@pytest.mark.parametrize("target", [4, 999, 10**15])
def test_poisoned_test_images_of_other_classes_are_a_remark(
    tmp_path: Path, poisoned: dict[int, tuple[Tensor, int]], target: Any
) -> None:
    record = attack_result(trained(), 4, poisoned=poisoned)
    for entry in record["bd_test"]["bd_data_container"]["data_dict"].values():
        entry["other_info"][0] = target
    torch.save(record, tmp_path / "a.pt")
    save_poisoned(tmp_path, poisoned)
    found = load_foreign(tmp_path / "a.pt")
    assert found.poisoned_test is None
    assert found.remarks == ("its poisoned test images have labels beyond its 4 classes, and are not tried",)

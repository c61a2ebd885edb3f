"""BackdoorBench: `attack_result.pt`, with any poisoned test images beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image

from nad.data.base import LabelledImages
from nad.data.opening import open_upright
from nad.errors import CheckpointError
from nad.formats.base import Contents, Found, PoisonedTest
from nad.formats.nesting import weights_in
from nad.models.normalisation import Normalisation
from nad.trained_on import TrainedOn

NORMALISATIONS: dict[str, Normalisation | None] = {
    "cifar10": Normalisation((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
    "cifar100": Normalisation((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "tiny": Normalisation((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "gtsrb": None,
    "celeba": None,
}
"""Its normalisations, by its names of data sets. Source: its code, `get_dataset_normalization`."""


def read(contents: Contents) -> Found | None:
    """A pickled dict with `model_name` and `model`: a state dict, or the whole model.

    Raises: CheckpointError for an unknown normalisation, unless the user gives one.
    """
    value = contents.value
    if not isinstance(value, Mapping) or "model_name" not in value or "model" not in value:
        return None
    weights = weights_in(value["model"])
    if not weights:
        raise CheckpointError(
            f"the BackdoorBench file {contents.path} holds no weights under 'model'; give another one"
        )
    dataset, normalisation, remarks = value.get("clean_data"), contents.normalisation, list[str]()
    if normalisation is None:
        normalisation = _normalisation(contents.path, dataset)
        if not isinstance(dataset, str):
            remarks.append("it names no data set, so nothing is normalised")
    try:
        poisoned_test = _poisoned_test(contents.path, value.get("bd_test"))
    except Exception as error:  # a damaged record or image may raise anything
        poisoned_test = None
        remarks.append(
            f"its poisoned test images (bd_test) cannot be read, and the victim is not tried on them: {error}"
        )
    size = _side(value.get("img_size"), poisoned_test)
    mirrored = False if dataset == "gtsrb" else None  # a mirrored traffic sign has another meaning
    return Found(weights, normalisation, TrainedOn(image_size=size, flip=mirrored), poisoned_test, tuple(remarks))


def _side(recorded: object, poisoned_test: PoisonedTest | None) -> int | None:
    """Pixels a side, recorded as (height, width, channels) or of the poisoned images."""
    if isinstance(recorded, Sequence) and len(recorded) >= 2:
        height, width = recorded[:2]
    elif poisoned_test is not None:
        height, width = poisoned_test.data.images.shape[2:]
    else:
        return None
    return int(height) if isinstance(height, int | np.integer) and height == width and height > 0 else None


def _normalisation(path: Path, dataset: object) -> Normalisation | None:
    if not isinstance(dataset, str):
        return None
    if dataset not in NORMALISATIONS:
        raise CheckpointError(
            f"the BackdoorBench file {path} is of the data set {dataset!r}, with an unknown normalisation; known:"
            f" {', '.join(NORMALISATIONS)}; give its own with --victim-mean and --victim-std"
        )
    return NORMALISATIONS[dataset]


def _poisoned_test(path: Path, record: Any) -> PoisonedTest:
    """The images of `bd_test`, in the order of their index.

    Raises: ValueError, with the reason, for no usable image; any error for a damaged record.
    """
    if not isinstance(record, Mapping) or "bd_data_container" not in record:
        raise ValueError("the file has none, or those of an early BackdoorBench, which lack the true labels")
    pictures, given, true = zip(*_entries(path, record["bd_data_container"]["data_dict"]), strict=True)
    if len(set(given)) != 1:
        raise ValueError(f"they have {len(set(given))} different target labels")
    sizes = {picture.size for picture in pictures}
    if len(sizes) != 1:
        raise ValueError(f"they have {len(sizes)} different sizes")
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(true)
    if given[0] < 0 or int(labels.min()) < 0:
        raise ValueError("they have labels below 0")
    others = torch.nonzero(labels != given[0]).squeeze(1)
    if not len(others):
        raise ValueError("all of them are of the target class")
    return PoisonedTest(LabelledImages(images, labels)[others], given[0])


def _entries(path: Path, entries: Mapping[Any, Any]) -> Iterator[tuple[Image.Image, int, int]]:
    """Each image with the attacker's label and the true one.  Raises: ValueError for an empty list."""
    if not entries:
        raise ValueError("the file lists none")
    for index in sorted(entries):
        entry = entries[index]
        if isinstance(entry, Mapping):
            picture, (given, true, *_more) = _open(_beside(path, entry["path"])), entry["other_info"]
        else:
            picture, given, true, *_more = entry
        yield picture.convert("RGB"), int(given), int(true)


def _beside(path: Path, recorded: str) -> Path:
    """A recorded image's path here: `bd_test_dataset/LABEL/INDEX.png` beside the file."""
    names = [part for part in PurePosixPath(recorded).parts if part.strip("/") and part != ".."]
    return path.parent.joinpath(*names[-3:])


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise ValueError(f"{path} is not there, or no file")
    return open_upright(path).convert("RGB")

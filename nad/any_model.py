"""`nad.erase`: an erase of any network with named layers, on any images, without a study."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from nad.augment import to_input
from nad.data.base import LabelledImages, Progress
from nad.erasure import TEACHER, EraseConfig, Watch, distil, make_teacher, require_watch
from nad.errors import ConfigError, DataError
from nad.models.taps import tap
from nad.seeds import derive, generator
from nad.training import TrainConfig

Holdout = LabelledImages | tuple[Tensor, Tensor] | Dataset[Any]
"""Clean images and their labels: two tensors, or a torch Dataset of pairs (image, label).

images: (count, channels, height, width), uint8 or floating point in [0, 1]; an item of a Dataset is one of them.
labels: integers, (count,).
"""


class Erased(NamedTuple):
    """What an erase leaves."""

    model: nn.Module
    """The erased copy, in eval mode, on the device where it was made."""
    losses: tuple[float, ...]
    """Mean loss of each epoch of its distillation."""
    teacher: nn.Module | None
    """Frozen, for further erases with the same images; None where no layer has a beta and none was needed."""
    teacher_losses: tuple[float, ...]
    """Mean loss of each epoch of its fine-tuning; empty where there was none."""


def erase(
    model: nn.Module,
    holdout: Holdout,
    config: EraseConfig,
    *,
    teacher: nn.Module | None = None,
    teacher_layers: Sequence[str] | None = None,
    teacher_config: TrainConfig = TEACHER,
    flip: bool = True,
    seed: int = 0,
    device: torch.device | str | None = None,
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> Erased:
    """Erase a backdoor from a copy of a model; the model itself is not changed.

    One copy is fine-tuned on the holdout and becomes the teacher; another is distilled towards its attention. What the
    model has frozen stays frozen. On a CPU, the same seed and number of threads give the same weights to the last bit;
    torch's own generators, from which dropout draws, are left as they were.

    model: images in [0, 1] to logits (images, classes); a normalisation per channel is its first layer.
    config: its layers are names as in `model.named_modules()`, with outputs (images, channels, height, width).
    teacher: instead of making one, such as that of an earlier erase, or of another architecture. It is not changed.
    teacher_layers: its layer for each one of the config; None where they have the same names.
    teacher_config: of the teacher's fine-tuning. A network without batch norm may need a lower lr than the paper's.
    flip: train on mirrored images, too: not where a mirrored image is of another class.
    device: None for where the model is.
    watch: called after each epoch of the distillation; `patience` needs it.
    progress: called with "teacher" or "student", epochs done, all epochs.
    Raises: ConfigError for a model or layers that cannot be distilled; DataError for images or labels that do not fit;
    EraseDiverged where a loss is no longer finite.
    """
    require_watch(config, watch)
    layers = tuple(config.weights)
    partners = _partners(config, teacher, teacher_layers)
    where = _device(model, device)
    clean = as_labelled_images(holdout)
    student = _copy(model, where)
    _require_student(student, clean, layers, where)
    told = progress or _ignore
    teacher_losses: tuple[float, ...] = ()
    master = None
    if layers and teacher is not None:
        master = _copy(teacher, where)
        _require_maps(_look(master, clean, tuple(partners.values()), where)[1], partners.values(), clean)
    elif layers:
        master = _copy(model, where)
        with _seeded(derive(seed, "teacher", "layers"), where):
            teacher_losses = make_teacher(
                master,
                clean,
                teacher_config,
                flip=flip,
                generator=generator(seed, "teacher"),
                device=where,
                progress=partial(told, "teacher"),
            )

    def after_epoch(epoch: int, erased: nn.Module) -> float:
        told("student", epoch, config.epochs)
        return 0.0 if watch is None else watch(epoch, erased)

    with _seeded(derive(seed, "erase", "layers"), where):
        result = distil(
            student,
            nn.Identity() if master is None else master,  # without a beta, it is not run
            clean,
            config,
            flip=flip,
            generator=generator(seed, "erase"),
            device=where,
            watch=after_epoch,
            pairs=partners,
        )
    return Erased(student.eval(), result.losses, master, teacher_losses)


def as_labelled_images(holdout: Holdout) -> LabelledImages:
    """The holdout in one block of memory.

    Raises: DataError where it is no holdout, or where its images differ in size or are not in [0, 1].
    """
    if isinstance(holdout, LabelledImages):
        images, labels = holdout.images, holdout.labels
    elif isinstance(holdout, tuple) and len(holdout) == 2 and all(isinstance(part, Tensor) for part in holdout):
        images, labels = holdout
    elif isinstance(holdout, Dataset):
        images, labels = _stacked(holdout)
    else:
        raise DataError(
            f"a holdout is two tensors (images, labels) or a torch Dataset of pairs, got a {type(holdout).__name__}"
        )
    if images.is_floating_point():
        images = images.to(torch.float32)
        if images.numel() and not (images.min() >= 0 and images.max() <= 1):
            raise DataError(
                f"floating-point images must be in [0, 1], got {images.min():.3g} to {images.max():.3g}; where the"
                " model expects normalised images, make the normalisation its first layer"
            )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"labels must be integers, the numbers of the classes, got {labels.dtype}")
    clean = LabelledImages(images, labels.to(torch.int64))
    if len(clean) < 2:
        raise DataError(f"a holdout needs at least two images, got {len(clean)}")
    return clean


def _stacked(dataset: Dataset[Any]) -> tuple[Tensor, Tensor]:
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for index, item in enumerate(_items(dataset)):
        try:
            image, label = item
            label = torch.as_tensor(label)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"item {index} of the holdout is not a pair (image, label): {error}") from error
        if not isinstance(image, Tensor):
            raise DataError(
                f"image {index} of the holdout is a {type(image).__name__}, not a tensor; give its data set a transform"
                " such as torchvision.transforms.PILToTensor()"
            )
        if images and image.shape != images[0].shape:
            raise DataError(
                f"images of the holdout differ in size: the first has shape {tuple(images[0].shape)}, image {index} has"
                f" {tuple(image.shape)}; bring them to one size"
            )
        images.append(image)
        labels.append(label)
    if not images:
        raise DataError("a holdout needs at least two images, got 0")
    return torch.stack(images), torch.stack(labels)


def _items(dataset: Dataset[Any]) -> Iterator[Any]:
    """By index where that is possible: not every data set says where it ends by raising an IndexError."""
    if isinstance(dataset, IterableDataset):
        return iter(dataset)
    return (dataset[index] for index in range(len(dataset)))  # type: ignore[arg-type]


def _partners(config: EraseConfig, teacher: nn.Module | None, teacher_layers: Sequence[str] | None) -> dict[str, str]:
    """The teacher's layer for each of the student's that takes part."""
    if teacher_layers is None:
        return {layer: layer for layer in config.weights}
    if teacher is None:
        raise ConfigError(f"teacher_layers {', '.join(teacher_layers)} need a teacher of your own that has them")
    if len(teacher_layers) != len(config.layers):
        raise ConfigError(
            f"one layer of the teacher per layer: got {len(teacher_layers)} for {', '.join(config.layers) or 'none'}"
        )
    pairs = dict(zip(config.layers, teacher_layers, strict=True))
    return {layer: pairs[layer] for layer in config.weights}


def _device(model: nn.Module, asked: torch.device | str | None) -> torch.device:
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        raise ConfigError(
            "the model has no parameter that may be trained; if they are frozen, call model.requires_grad_(True)"
        )
    return parameters[0].device if asked is None else torch.device(asked)


def _copy(model: nn.Module, device: torch.device) -> nn.Module:
    return copy.deepcopy(model).to(device)


def _ignore(_what: str, _done: int, _total: int) -> None:
    pass


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Layers such as dropout draw from torch's own generators: seeded in here, and as they were afterwards."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _require_student(student: nn.Module, clean: LabelledImages, layers: Sequence[str], device: torch.device) -> None:
    """Raise unless the model gives logits for every label, and the layers have maps to distil."""
    logits, features = _look(student, clean, layers, device)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ConfigError(
            f"the model returns {_described(logits)};"
            " it has to return logits (images, classes); wrap it in one that does"
        )
    classes, low, high = logits.shape[1], int(clean.labels.min()), int(clean.labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"label {low if low < 0 else high} of the holdout is none of the model's classes, which are 0 to"
            f" {classes - 1}; number the labels as the model does"
        )
    _require_maps(features, layers, clean)


def _look(
    model: nn.Module, clean: LabelledImages, layers: Sequence[str], device: torch.device
) -> tuple[Any, Mapping[str, Any]]:
    """What a model makes of two images: what it returns, and the outputs of the layers."""
    model.eval()
    with torch.no_grad(), tap(model, layers) as features:
        try:
            returned = model(to_input(clean.images[:2], device))
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"the model cannot read float32 images of shape {tuple(clean.images.shape[1:])}: {reason}"
            ) from error
    return returned, features


def _require_maps(features: Mapping[str, Any], layers: Iterable[str], clean: LabelledImages) -> None:
    height, width = clean.images.shape[2:]
    for layer in layers:
        if layer not in features:
            raise ConfigError(f"the layer {layer!r} takes no part when the model reads an image; distil another")
        values = features[layer]
        if not isinstance(values, Tensor) or values.ndim != 4:
            raise ConfigError(
                f"the layer {layer!r} gives {_described(values)}, not (images, channels, height, width); distil another"
            )
        if values.shape[2] * values.shape[3] == 1:
            raise ConfigError(
                f"the layer {layer!r} gives 1x1 maps of images of {height}x{width} pixels, whose attention loss is"
                " always zero; distil one before the global pooling, or give larger images"
            )


def _described(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"

"""An erase and a victim training in usual PyTorch style, for comparison.

Images pass one by one through PIL transforms in a DataLoader, tensors are contiguous, and after every epoch both test
sets pass through the model, and in the erase through the teacher as well. The erase has the method and the settings of
`nad.erasure`; the training divides its learning rate twice by ten.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from nad.attention import attention_distance, attention_map
from nad.data.base import LabelledImages
from nad.erasure import EraseConfig
from nad.evaluation import EvalSet
from nad.models.taps import tap
from nad.training import SCHEDULES, TrainConfig

TEST_BATCH = 100


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images as a folder of files would give them: one PIL image at a time."""

    def __init__(self, data: LabelledImages, transform: transforms.Compose) -> None:
        to_pil = transforms.ToPILImage()
        self.images = [to_pil(image) for image in data.images]
        self.labels = data.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self.transform(self.images[index])
        return image, self.labels[index]


class Cutout:
    """One square hole, its centre anywhere in the image."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        top = int(torch.randint(height, ())) - self.side // 2
        left = int(torch.randint(width, ())) - self.side // 2
        image[:, max(top, 0) : max(top + self.side, 0), max(left, 0) : max(left + self.side, 0)] = 0
        return image


def erase_as_usual(
    student: nn.Module,
    teacher: nn.Module,
    holdout: LabelledImages,
    eval_set: EvalSet,
    config: EraseConfig,
    *,
    flip: bool,
) -> tuple[float, float]:
    """Erase in place.  Returns ASR and ACC after the last epoch.  Randomness: torch's global generator."""
    batches = _augmented(holdout, config, flip=flip)
    tests = _tests(eval_set)
    optimiser = _optimiser(student, config)
    teacher.eval().requires_grad_(False)
    asr = acc = 0.0
    for epoch in range(config.epochs):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * SCHEDULES[config.schedule](epoch, config.epochs)
        student.train()
        with tap(student, config.layers) as ours, tap(teacher, config.layers) as theirs:
            for images, labels in batches:
                loss = F.cross_entropy(student(images), labels)
                with torch.no_grad():
                    teacher(images)
                for layer, beta in config.weights.items():
                    one, other = (attention_map(taps[layer], config.power, config.operator) for taps in (ours, theirs))
                    loss = loss + beta * attention_distance(one, other, config.convention)
                _step(optimiser, loss)
        for model in (teacher, student):
            asr, acc = _scores(model, tests, _target(eval_set))
    return asr, acc


def train_as_usual(
    model: nn.Module, data: LabelledImages, eval_set: EvalSet, config: TrainConfig, *, flip: bool
) -> None:
    """Train in place: a constant rate, a tenth of it after half and a hundredth after three quarters of the epochs."""
    batches = _augmented(data, config, flip=flip)
    tests = _tests(eval_set)
    optimiser = _optimiser(model, config)
    milestones = [config.epochs // 2, config.epochs * 3 // 4]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones)
    for _ in range(config.epochs):
        model.train()
        for images, labels in batches:
            _step(optimiser, F.cross_entropy(model(images), labels))
        schedule.step()
        _scores(model, tests, _target(eval_set))


def _augmented(data: LabelledImages, config: TrainConfig, *, flip: bool) -> DataLoader[Any]:
    mirror = [transforms.RandomHorizontalFlip()] if flip else []
    hole = [Cutout(config.cutout)] if config.cutout else []
    crop = transforms.RandomCrop(data.images.shape[-1], padding=4)
    images = PilImages(data, transforms.Compose([crop, *mirror, transforms.ToTensor(), *hole]))
    return DataLoader(images, batch_size=config.batch_size, shuffle=True)


def _tests(eval_set: EvalSet) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """The clean and the triggered test images."""
    plain = transforms.Compose([transforms.ToTensor()])
    clean, triggered = (DataLoader(PilImages(images, plain), batch_size=TEST_BATCH) for images in eval_set[:2])
    return clean, triggered


def _optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _scores(model: nn.Module, tests: tuple[DataLoader[Any], DataLoader[Any]], target: int) -> tuple[float, float]:
    """ASR and ACC."""
    clean, triggered = tests
    acc = _share(model, clean, None)
    return _share(model, triggered, target), acc


def _target(eval_set: EvalSet) -> int:
    assert isinstance(eval_set.target, int), "the usual loop knows one target for all images"
    return eval_set.target


def _share(model: nn.Module, batches: DataLoader[Any], target: int | None) -> float:
    """Share of images predicted as the target; as their own labels without a target."""
    model.eval()
    hits = count = 0
    with torch.no_grad():
        for images, labels in batches:
            hits += int((model(images).argmax(1) == (labels if target is None else target)).sum())
            count += len(images)
    return hits / count

"""How good a model is, and how backdoored."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nad.attacks.base import Attack
from nad.attacks.poisoning import attacked, count_classes, target_labels
from nad.augment import to_input
from nad.data.base import LabelledImages
from nad.devices import device_of
from nad.errors import DataError
from nad.models.frozen import in_eval_mode

AT_ONCE, AT_ONCE_ON_A_GPU = 64, 1000
"""Images of one pass: on a processor few enough for its cache to hold what a layer makes of them."""


LEAST_SKILL = 0.1
"""How far from guessing (0) towards no mistake (1) a model has to be to be worth attacking or studying."""


class Scores(NamedTuple):
    """Shares in [0, 1]."""

    asr: float
    """Triggered images, true class not the target, that are predicted as the target; with labels that go all to all,
    triggered images of all classes that are predicted as the next class."""
    acc: float
    """Untriggered images of all classes that are predicted right."""
    acc_non_target: float
    """The same without the target class: the authors' way of counting. With labels that go all to all there is none to
    leave out, and this is `acc`."""
    recovery_acc: float
    """Triggered images that are given their true class."""


class EvalSet(NamedTuple):
    """Evaluation set: images for the scores, with the trigger planted once for all models."""

    clean: LabelledImages
    triggered: LabelledImages
    """Images whose true class is not the target, with the trigger, under their true labels; all images where labels go
    all to all."""
    target: int | Tensor
    """The class that triggered images are to be given: one for all, or (count,) one for each."""

    def subset(self, size: int) -> EvalSet:
        """The first `size` images of either kind: a cheap look between epochs."""
        first = torch.arange(size)
        target = self.target if isinstance(self.target, int) else self.target[:size]
        return EvalSet(self.clean[first[: len(self.clean)]], self.triggered[first[: len(self.triggered)]], target)


def make_eval_set(
    data: LabelledImages, attack: Attack, generator: torch.Generator, *, classes: int | None = None
) -> EvalSet:
    """Plant the trigger in every image that the attack wants to be given another class.

    classes: how many there are; by default up to the highest label. Only all-to-all labels depend on it.
    Raises: DataError where no such image exists.
    """
    others = data[torch.nonzero(attacked(attack, data.labels)).squeeze(1)]
    if not len(others):
        raise DataError(
            f"every image has the target label {attack.target}: the attack success rate has nothing to count"
        )
    triggered = LabelledImages(attack.trigger(others.images, generator), others.labels)
    if attack.label_mode != "all-to-all":
        return EvalSet(data, triggered, attack.target)
    count = count_classes(data.labels) if classes is None else classes
    return EvalSet(data, triggered, target_labels(attack, others.labels, count))


def predict(model: nn.Module, images: Tensor, *, device: torch.device | None = None) -> Tensor:
    """The predicted class of each image, on the CPU. The model is used in eval mode and left as it was.

    images: as LabelledImages has them.  device: None for where the model is.  Returns (count,) int64.
    """
    where = device or device_of(model)
    at_once = AT_ONCE if where.type == "cpu" else AT_ONCE_ON_A_GPU
    with torch.inference_mode(), in_eval_mode(model):
        parts = [model(to_input(batch, where)).argmax(dim=1) for batch in torch.split(images, at_once)]
    return torch.cat(parts).cpu()


def accuracy(model: nn.Module, data: LabelledImages, *, device: torch.device | None = None) -> float:
    """Share of these images that are predicted right."""
    return _share(predict(model, data.images, device=device) == data.labels)


def tells_nothing_apart(acc: float, classes: int) -> bool:
    """Whether an accuracy is at most a tenth of the way from a guess to no mistake."""
    guess = 1 / classes
    return acc <= guess + LEAST_SKILL * (1 - guess)


def evaluate(model: nn.Module, eval_set: EvalSet, *, device: torch.device | None = None) -> Scores:
    """Score a model."""
    right = predict(model, eval_set.clean.images, device=device) == eval_set.clean.labels
    under_trigger = predict(model, eval_set.triggered.images, device=device)
    others = right[eval_set.clean.labels != eval_set.target] if isinstance(eval_set.target, int) else right
    return Scores(
        asr=_share(under_trigger == eval_set.target),
        acc=_share(right),
        acc_non_target=_share(others),
        recovery_acc=_share(under_trigger == eval_set.triggered.labels),
    )


def _share(hits: Tensor) -> float:
    return int(hits.sum()) / len(hits)

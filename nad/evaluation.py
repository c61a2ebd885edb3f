"""Accuracy and attack success rate of a model."""

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
from nad.threads import before_step

AT_ONCE, AT_ONCE_ON_A_GPU = 64, 1000
"""Images per pass; on a CPU few enough for maps in its cache."""

LEAST_SKILL = 0.1
"""Limit of guessing, on a scale of balanced accuracy from guess (0) to perfect (1)."""


class Skill(NamedTuple):
    """Accuracy and balanced accuracy, in [0, 1]."""

    acc: float
    """Share of images predicted right. Always giving one answer reaches the largest class's share."""
    balanced_acc: float
    """Mean accuracy over the classes: 1/classes for always giving one answer."""


class Scores(NamedTuple):
    """Shares in [0, 1]."""

    asr: float
    """Triggered images of other classes predicted as the target (all-to-all labels: all as their next class)."""
    acc: float
    """Untriggered images of all classes, predicted right."""
    balanced_acc: float
    """Mean accuracy over the classes present; rare classes count as much as frequent ones."""
    acc_non_target: float
    """Accuracy without the target class, the authors' figure; `acc` with all-to-all labels."""
    recovery_acc: float
    """Triggered images predicted as their true class."""


class EvalSet(NamedTuple):
    """Evaluation set: images for scoring models, with the trigger planted once for all."""

    clean: LabelledImages
    triggered: LabelledImages
    """With the trigger, under their true labels; without the target class unless labels go all to all."""
    target: int | Tensor
    """The attacker's class for the triggered images: one for all, or (count,) one for each."""

    def subset(self, size: int) -> EvalSet:
        """The first `size` images of either kind, for a cheap score between epochs."""
        first = torch.arange(size)
        target = self.target if isinstance(self.target, int) else self.target[:size]
        return EvalSet(self.clean[first[: len(self.clean)]], self.triggered[first[: len(self.triggered)]], target)


def make_eval_set(
    data: LabelledImages, attack: Attack, generator: torch.Generator, *, classes: int | None = None
) -> EvalSet:
    """Plant the trigger in every image with another class than the attack's target.

    classes: their number, by default up to the highest label. Only all-to-all labels depend on it.
    Raises: DataError if no such image exists.
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
    """The predicted class of each image, in eval mode; the model keeps its mode.

    images: as in LabelledImages.  device: None for the model's own.  Returns (count,) int64, on the CPU.
    """
    where = device or device_of(model)
    at_once = AT_ONCE if where.type == "cpu" else AT_ONCE_ON_A_GPU
    with torch.inference_mode(), in_eval_mode(model):
        parts = []
        for batch in torch.split(images, at_once):
            before_step()
            parts.append(model(to_input(batch, where)).argmax(dim=1))
    return torch.cat(parts).cpu()


def accuracy(model: nn.Module, data: LabelledImages, *, device: torch.device | None = None) -> float:
    """Share of these images predicted right."""
    return _share(predict(model, data.images, device=device) == data.labels)


def measure_skill(model: nn.Module, data: LabelledImages, *, device: torch.device | None = None) -> Skill:
    """Both accuracies on these images, in one pass."""
    return _skill(predict(model, data.images, device=device) == data.labels, data.labels)


def only_guesses(balanced_acc: float, labels: Tensor) -> bool:
    """Test for a balanced accuracy no better than a guess on images of these labels."""
    return balanced_acc <= guess_limit(labels)


def guess_limit(labels: Tensor) -> float:
    """Largest balanced accuracy of guessing: a tenth of the way from 1/classes to 1.

    Only classes present count. For images of a single class the limit is a tenth.
    """
    classes = int((labels.bincount() > 0).sum())
    guess = 1 / classes if classes > 1 else 0.0
    return guess + LEAST_SKILL * (1 - guess)


def chance(labels: Tensor) -> float:
    """The largest class's share: the best accuracy of always giving one answer."""
    return int(labels.bincount().max()) / len(labels)


def guess_text(skill: Skill | Scores, labels: Tensor) -> str:
    """The figures of a guessing model, for an error."""
    return (
        f"its accuracy is {skill.acc:.1%}, that of one answer for every image {chance(labels):.1%},"
        f" and its balanced accuracy, the mean over the classes, {skill.balanced_acc:.1%}"
    )


def evaluate(model: nn.Module, eval_set: EvalSet, *, device: torch.device | None = None) -> Scores:
    """Score a model."""
    right = predict(model, eval_set.clean.images, device=device) == eval_set.clean.labels
    under_trigger = predict(model, eval_set.triggered.images, device=device)
    others = right[eval_set.clean.labels != eval_set.target] if isinstance(eval_set.target, int) else right
    return Scores(
        asr=_share(under_trigger == eval_set.target),
        **_skill(right, eval_set.clean.labels)._asdict(),
        acc_non_target=_share(others),
        recovery_acc=_share(under_trigger == eval_set.triggered.labels),
    )


def _skill(right: Tensor, labels: Tensor) -> Skill:
    """right: (count,) bool."""
    counts = labels.bincount()
    hits = labels[right].bincount(minlength=len(counts))
    occur = counts > 0
    return Skill(_share(right), float((hits[occur].double() / counts[occur]).mean()))


def _share(hits: Tensor) -> float:
    return int(hits.sum()) / len(hits)

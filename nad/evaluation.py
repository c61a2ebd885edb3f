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
from nad.threads import before_step

AT_ONCE, AT_ONCE_ON_A_GPU = 64, 1000
"""Images of one pass: on a processor few enough for its cache to hold what a layer makes of them."""

LEAST_SKILL = 0.1
"""How far from a guess (0) towards no mistake (1) a model's balanced accuracy has to be; up to here it only guesses."""


class Skill(NamedTuple):
    """How well a model tells classes apart, as shares in [0, 1]."""

    acc: float
    """Images that are predicted right. A model of one answer reaches the largest class's share."""
    balanced_acc: float
    """The mean over the classes of their images' share that is predicted right: 1/classes for a model of one answer."""


class Scores(NamedTuple):
    """Shares in [0, 1]."""

    asr: float
    """Triggered images, true class not the target, that are predicted as the target; with labels that go all to all,
    triggered images of all classes that are predicted as the next class."""
    acc: float
    """Untriggered images of all classes that are predicted right."""
    balanced_acc: float
    """The same as the mean over the classes that occur, which counts rare classes as much as frequent ones."""
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
        parts = []
        for batch in torch.split(images, at_once):
            before_step()
            parts.append(model(to_input(batch, where)).argmax(dim=1))
    return torch.cat(parts).cpu()


def accuracy(model: nn.Module, data: LabelledImages, *, device: torch.device | None = None) -> float:
    """Share of these images that are predicted right."""
    return _share(predict(model, data.images, device=device) == data.labels)


def measure_skill(model: nn.Module, data: LabelledImages, *, device: torch.device | None = None) -> Skill:
    """Both accuracies on these images, in one pass."""
    return _skill(predict(model, data.images, device=device) == data.labels, data.labels)


def only_guesses(balanced_acc: float, labels: Tensor) -> bool:
    """Whether a model with this balanced accuracy on images of these labels knows hardly more than one answer."""
    return balanced_acc <= guess_limit(labels)


def guess_limit(labels: Tensor) -> float:
    """The balanced accuracy up to which a model only guesses: a tenth of the way from 1/classes to 1.

    Only classes that occur count. Among images of one class a guess is worth nothing: one answer may be all it takes.
    """
    classes = int((labels.bincount() > 0).sum())
    guess = 1 / classes if classes > 1 else 0.0
    return guess + LEAST_SKILL * (1 - guess)


def chance(labels: Tensor) -> float:
    """A guess as people know it, the largest class's share: the accuracy of the best model of one answer."""
    return int(labels.bincount().max()) / len(labels)


def guess_text(skill: Skill | Scores, labels: Tensor) -> str:
    """What shows that a model only guesses, for an error."""
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

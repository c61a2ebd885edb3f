"""Refusal of models that only guess on the given images, before any training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nad.data.base import LabelledImages
from nad.data.splits import rank_in_class
from nad.errors import DataError
from nad.evaluation import guess_text, measure_skill, only_guesses
from nad.seeds import generator

JUDGED = 500
"""Most images to judge a model on; a WRN-16-1 takes 0.6 s of CPU (`benchmarks.judging`)."""

CAUSES = (
    "the order of the classes, the image size, the channels (RGB or BGR) or the normalisation is not that of its"
    " training"
)
"""Usual reasons why another party's model only guesses."""


def require_known(model: nn.Module, data: LabelledImages, *, allow: str, device: torch.device | None = None) -> None:
    """Raise DataError for a model that only guesses on these images.

    It is judged on JUDGED of them, the same each time, taken from the classes in turn. On images of a single class it
    has to get more than a tenth right.
    allow: the way to use it all the same, in the error's words.  device: None for the model's own.
    """
    judged = data[spread(data.labels, JUDGED)]
    skill = measure_skill(model, judged, device=device)
    if only_guesses(skill.balanced_acc, judged.labels):
        images = "these images" if len(judged) == len(data) else f"{len(judged):,} of these {len(data):,} images"
        raise DataError(
            f"the model only guesses on {images}: {guess_text(skill, judged.labels)}; perhaps {CAUSES}; mend that, or"
            f" {allow} to use it all the same"
        )


def spread(labels: Tensor, most: int) -> Tensor:
    """Indices of at most `most` images, from the classes in turn by a fixed seed; ascending."""
    order = torch.randperm(len(labels), generator=generator(0, "judged"))
    return order[rank_in_class(labels[order]).argsort(stable=True)[:most]].sort().values

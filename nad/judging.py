"""Whether a model knows the images that it is given, asked before anything is trained on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nad.data.base import LabelledImages
from nad.errors import DataError
from nad.evaluation import guess_text, measure_skill, only_guesses
from nad.seeds import generator

JUDGED = 500
"""Images that a model is judged on, at most. Of 10,000 for a WRN-16-1: 0.6 s of a processor (`benchmarks.judging`)."""

CAUSES = (
    "the order of the classes, the image size, the channels (RGB or BGR) or the normalisation is not that of its"
    " training"
)
"""What to look for where a model of somebody else's only guesses."""


def require_known(model: nn.Module, data: LabelledImages, *, allow: str, device: torch.device | None = None) -> None:
    """Raise DataError for a model that only guesses on these images.

    It is judged on JUDGED of them, the same each time, taken from the classes in turn. Where all images are of one
    class, it has to know more than a tenth of them.

    allow: what to do to use it all the same.  device: None for where the model is.
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
    """Indices of at most so many images, drawn at random from the classes in turn, always the same; ascending."""
    order = torch.randperm(len(labels), generator=generator(0, "judged"))
    shuffled = labels[order]
    by_class, counts = shuffled.argsort(stable=True), shuffled.bincount()
    turns = torch.empty_like(order)
    turns[by_class] = torch.arange(len(order)) - (counts.cumsum(0) - counts)[shuffled[by_class]]
    return order[turns.argsort(stable=True)[:most]].sort().values

"""Attention maps of several models on the same images, as one labelled picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from nad.attention import Operator, attention_map, unit_map
from nad.augment import to_input
from nad.files import written_beside
from nad.models.taps import tap

TILE = 96
"""Pixels a side of each image and map."""
GAP = 4
BETWEEN = 16
"""Pixels between two models, and between two images with their triggered copies."""
MARGIN = 14
ROW_LABEL = 72
LINE = 20
"""Pixels per line of text."""
OPACITY = 0.8
"""Opacity of a map over its grey image: colours keep their order, the image stays visible."""

INK, QUIET, ALARM = (32, 36, 44), (96, 102, 112), (176, 48, 16)

# Cividis (Nunez, Anderton & Renslow 2018): evenly rising lightness, the same to readers with colour-blind eyes.
CIVIDIS = np.array(
    [
        *((0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115)),
        *((138, 134, 120), (165, 156, 116), (195, 179, 105), (225, 204, 85), (254, 232, 56)),
    ],
    dtype=float,
)

Pixels = NDArray[np.uint8]


class Attention(NamedTuple):
    """One model's attention to some images, and its predictions."""

    name: str
    maps: dict[str, Tensor]
    """By layer: maps of `attention_map`, (count, height, width), of different sizes."""
    predicted: Tensor
    """(count,) int64: the predicted classes."""


class Scene(NamedTuple):
    """Images in pairs, clean and triggered, with their labels."""

    clean: Tensor
    """(count, 3, height, width) uint8."""
    triggered: Tensor
    labels: Tensor
    """(count,) int64: the true classes."""
    target_labels: Tensor
    """(count,) int64: the attack's wanted classes of the triggered images, never their true classes."""

    @property
    def rows(self) -> Tensor:
        """All images from the top: each clean one above its triggered copy."""
        return torch.stack([self.clean, self.triggered], dim=1).flatten(0, 1)


def attend(
    name: str,
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str],
    *,
    power: float,
    operator: Operator,
    device: torch.device | None = None,
) -> Attention:
    """A model's attention to these images and its predictions. Leaves the model in eval mode.

    images: (count, 3, height, width) uint8.
    Raises: ConfigError for an unknown layer.
    """
    model.eval()
    with torch.inference_mode(), tap(model, layers) as features:
        predicted = model(to_input(images, device or torch.device("cpu"))).argmax(dim=1).cpu()
        maps = {layer: _unflattened(features[layer], power, operator).cpu() for layer in layers}
    return Attention(name, maps, predicted)


def beside(teacher: Attention, student: Attention, pairs: Mapping[str, str]) -> Attention:
    """A teacher's attention by the student's layers, in the student's map sizes.

    pairs: the teacher's layer for each of the student's.
    """
    maps = {layer: _resized(teacher.maps[pairs[layer]], values) for layer, values in student.maps.items()}
    return teacher._replace(maps=maps)


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    """Maps averaged or enlarged to the size of others, of unit norm; (count, height, width)."""
    if maps.shape == like.shape:
        return maps
    _count, height, width = like.shape
    return unit_map(F.adaptive_avg_pool2d(maps, (height, width))).reshape(like.shape)


def _unflattened(features: Tensor, power: float, operator: Operator) -> Tensor:
    count, _channels, height, width = features.shape
    return attention_map(features, power, operator).reshape(count, height, width)


def heat(attention: Tensor) -> Tensor:
    """Maps of one layer in [0, 1]; one scale for all models on the same image keeps faint maps faint.

    attention: (models, count, height, width), not negative.  Returns the same shape.
    """
    brightest = attention.amax(dim=(0, 2, 3), keepdim=True)
    return attention / brightest.clamp(min=torch.finfo(attention.dtype).tiny)


def colours(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Cividis colours of values in [0, 1]: any shape, plus three channels in [0, 255]."""
    steps = np.linspace(0.0, 1.0, len(CIVIDIS))
    return np.stack([np.interp(values, steps, channel) for channel in CIVIDIS.T], axis=-1)


def tile(image: Tensor) -> Image.Image:
    """An image resized to TILE x TILE with sharp pixels.  image: (3, height, width) uint8."""
    return Image.fromarray(image.permute(1, 2, 0).numpy()).resize((TILE, TILE), Image.Resampling.NEAREST)


def overlay(image: Image.Image, warmth: Tensor) -> Image.Image:
    """A map, smoothly enlarged and coloured, over its image in grey.  warmth: (height, width) in [0, 1]."""
    small = Image.fromarray(warmth.numpy().astype(np.float32))
    enlarged = np.asarray(small.resize(image.size, Image.Resampling.BILINEAR))
    grey = np.asarray(image.convert("L"), dtype=float)[..., None]
    mixed = OPACITY * colours(enlarged) + (1 - OPACITY) * grey
    return Image.fromarray(mixed.round().astype(np.uint8))


def verdict(predicted: int, label: int, target: int) -> str:
    """A prediction in the attack's terms."""
    if predicted == target:
        return "says: the target"
    return "says: the true class" if predicted == label else "says: another class"


def draw(scene: Scene, models: Sequence[Attention], caption: str) -> Image.Image:
    """One labelled row an image (clean above triggered), one column a layer, grouped by model.

    models: their attention to scene.rows, all with the same layers.  caption: one line at the bottom.
    """
    layers = list(models[0].maps)
    group = len(layers) * (TILE + GAP) - GAP
    lefts = [MARGIN + ROW_LABEL + TILE + BETWEEN + index * (group + BETWEEN) for index in range(len(models))]
    head, row_height = MARGIN + 2 * LINE, TILE + LINE
    tops = [head + index * row_height + index // 2 * BETWEEN for index in range(2 * len(scene.clean))]
    size = (lefts[-1] + group + MARGIN, tops[-1] + row_height + LINE + MARGIN)
    sheet = Image.new("RGB", size, "white")
    pen, plain, large = ImageDraw.Draw(sheet), ImageFont.load_default(13), ImageFont.load_default(16)
    for left, shown in zip(lefts, models, strict=True):
        pen.text((left + group / 2, MARGIN + LINE / 2), shown.name, INK, large, "mm")
        for column, layer in enumerate(layers):
            middle = left + column * (TILE + GAP) + TILE / 2
            pen.text((middle, MARGIN + LINE * 1.4), layer, QUIET, plain, "mm")
    warmth = {layer: heat(torch.stack([shown.maps[layer] for shown in models])) for layer in layers}
    for row, (top, image) in enumerate(zip(tops, scene.rows, strict=True)):
        picture = tile(image)
        name = "triggered" if row % 2 else "clean"
        pen.text((MARGIN, top + TILE / 2), name, INK, plain, "lm")
        sheet.paste(picture, (MARGIN + ROW_LABEL, top))
        for index, (left, shown) in enumerate(zip(lefts, models, strict=True)):
            for column, layer in enumerate(layers):
                sheet.paste(overlay(picture, warmth[layer][index, row]), (left + column * (TILE + GAP), top))
            says = verdict(int(shown.predicted[row]), int(scene.labels[row // 2]), int(scene.target_labels[row // 2]))
            colour = ALARM if says.endswith("target") else QUIET
            pen.text((left, top + TILE + LINE / 2), says, colour, plain, "lm")
    pen.text((MARGIN, size[1] - MARGIN), caption, QUIET, plain, "lb")
    return sheet


def save(path: Path, picture: Image.Image) -> None:
    """Write as PNG, whole or not at all."""
    with written_beside(path) as beside:
        picture.save(beside, format="PNG")

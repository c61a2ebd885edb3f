"""Draw examples of fashion-c for the docs: python -m tools.sheet docs/fashion-c.png"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from nad.data.base import Dataset
from nad.data.fashion_c import load_fashion_c

SCALE = 3
GAP = 6
CAPTION = 22
"""Pixels above each column, for the name of its class."""


def draw_sheet(dataset: Dataset, examples: int = 8) -> Image.Image:
    """One column per class: its name over its first training images, enlarged."""
    side = dataset.train.images.shape[-1] * SCALE
    size = (dataset.classes * (side + GAP) + GAP, CAPTION + examples * (side + GAP) + GAP)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for label, name in enumerate(dataset.class_names):
        left = GAP + label * (side + GAP)
        draw.text((left + side / 2, GAP + CAPTION / 2), name, fill="black", font=font, anchor="mm")
        for row, image in enumerate(dataset.train.images[dataset.train.labels == label][:examples]):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(picture, (left, CAPTION + GAP + row * (side + GAP)))
    return sheet


if __name__ == "__main__":
    draw_sheet(load_fashion_c()).save(Path(sys.argv[1]), optimize=True)

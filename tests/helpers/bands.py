"""Small images, learnt within a few batches."""

import torch

from nad.data.base import LabelledImages

CLASSES = 4


def make_images(count: int, seed: int, size: int = 16) -> LabelledImages:
    """Noise with a bright band, its place the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 120, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    band = size // CLASSES
    for label in range(CLASSES):
        images[labels == label, :, label * band : (label + 1) * band] += 120
    return LabelledImages(images, labels)

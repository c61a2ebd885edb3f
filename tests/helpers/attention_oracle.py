"""Attention maps and their distances, written a second time in numpy."""

import numpy as np

REDUCTIONS = {"sum": np.sum, "mean": np.mean, "max": np.max}
DISTANCES = {
    "code": lambda ours, theirs: ((ours - theirs) ** 2).mean(),
    "paper": lambda ours, theirs: np.mean([np.sqrt(((a - b) ** 2).sum()) for a, b in zip(ours, theirs, strict=True)]),
}


def numpy_map(features: np.ndarray, power: float, operator: str, size: tuple[int, int]) -> np.ndarray:
    """The definition, written for one image and one window at a time, in double precision."""
    energy = REDUCTIONS[operator](np.abs(features) ** power, axis=1)
    count, height, width = energy.shape
    pooled = np.empty((count, *size))
    for row in range(size[0]):
        for column in range(size[1]):
            top, bottom = row * height // size[0], -(-(row + 1) * height // size[0])
            left, right = column * width // size[1], -(-(column + 1) * width // size[1])
            pooled[:, row, column] = energy[:, top:bottom, left:right].mean(axis=(1, 2))
    flat = pooled.reshape(count, -1)
    return flat / np.sqrt((flat**2).sum(axis=1, keepdims=True))

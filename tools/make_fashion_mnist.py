"""Remake fashion_mnist.xz, byte for byte, from the four idx files of Fashion-MNIST.

    python -m tools.make_fashion_mnist [SOURCE_DIR]

Default SOURCE_DIR: the folder of Debian's package dataset-fashion-mnist. The file is one xz stream of uint8
pixels: the first 1,200 training images of class 0, of class 1, ..., then the first 200 test images of each class.
Pixel-predicting filters (left, up, median) were tried: the file gets larger.
"""

from __future__ import annotations

import gzip
import lzma
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nad.data.fashion_c import CLASSES, SOURCE_FILE, TEST_PER_CLASS, TRAIN_PER_CLASS

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def packed(source: Path) -> bytes:
    """The contents of fashion_mnist.xz, from the idx files in this folder."""
    pixels = b"".join(
        _first_of_each_class(source, part, per_class).tobytes()
        for part, per_class in (("train", TRAIN_PER_CLASS), ("t10k", TEST_PER_CLASS))
    )
    return lzma.compress(pixels, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=FILTERS)


def _first_of_each_class(source: Path, part: str, per_class: int) -> NDArray[np.uint8]:
    images = _idx(source / f"{part}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
    labels = _idx(source / f"{part}-labels-idx1-ubyte.gz", header=8)
    return np.concatenate([images[labels == label][:per_class] for label in range(len(CLASSES))])


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    """The bytes after the header of a gzipped idx file."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


if __name__ == "__main__":
    SOURCE_FILE.write_bytes(packed(Path(sys.argv[1]) if len(sys.argv) > 1 else DEBIAN))

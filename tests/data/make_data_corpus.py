"""Makes the small files in data_corpus/: triggers and data sets as they are found in the wild.

Run `python tests/data/make_data_corpus.py` after a change and commit what it writes; tests/nad/data/test_data_corpus.py
has the expected reading, or the sentence, of each.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

CORPUS = Path(__file__).parent / "data_corpus"
SIDE = 8
"""Pixels a side of every image."""
NUMBERS = range(11)
"""Classes of the small GTSRB: as texts they would be in another order."""


def grey(value: int) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), (value, value, value))


def write(path: Path, content: bytes | str | Image.Image) -> None:
    """A file, in new folders at need; an image in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Image.Image):
        content.save(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def triggers(root: Path) -> None:
    """Arrays and images for --trigger."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    wave = np.tile((127.5 + 127.5 * np.sin(np.arange(32) * 1.2)).astype(np.uint8), (32, 1))
    np.save(root / "signal_mask.npy", wave)  # the form of the NAD authors' signal_cifar10_mask.npy
    square = np.zeros((3, 32, 32), np.float32)
    square[:, 25:28, 25:28] = rng.uniform(4, 250, (3, 3, 3))
    np.savez(root / "best_square.npz", x=square, y=np.int32(1))  # of their best_square_trigger_cifar10.npz
    low_frequency = rng.uniform(0, 0.2, (1, 32, 32, 3)).astype(np.float32)
    np.save(root / "low_frequency.npy", low_frequency)  # of BackdoorBench's lowFrequency
    np.save(root / "signed.npy", rng.integers(-40, 41, (32, 32, 3)).astype(np.int16))
    patch = np.zeros((32, 32, 4), np.uint8)
    patch[29:, 29:] = 255
    write(root / "patch.png", Image.fromarray(patch))
    np.savez(root / "ratio.npz", pattern=wave[:4, :4, None].repeat(3, 2), mask=np.ones((4, 4)), blend_ratio=0.5)
    np.savez(root / "per_class.npz", x=rng.uniform(0, 255, (10, 3, 4, 4)).astype(np.float32))
    np.save(root / "nan.npy", np.full((4, 4), np.nan, np.float32))
    np.save(root / "four_channels.npy", np.full((4, 4, 4), 99, np.uint8))
    np.save(root / "normalised.npy", rng.uniform(-2.1, 2.6, (3, 4, 4)).astype(np.float32))
    np.save(root / "large.npy", np.full((40, 40), 99, np.uint8))
    np.savez(root / "empty.npz")
    np.savez(root / "several.npz", trigger=wave, other=wave)
    np.save(root / "objects.npy", np.array([{"a": "pickle"}], dtype=object), allow_pickle=True)
    write(root / "torn.npy", (root / "signal_mask.npy").read_bytes()[:300])


def gtsrb_original(root: Path) -> None:
    for number in NUMBERS:
        folder = root / "Final_Training" / "Images" / f"{number:05d}"
        write(folder / "00000_00000.ppm", grey(10 * number))
        write(folder / f"GT-{number:05d}.csv", f"Filename;Width;Height;ClassId\n00000_00000.ppm;8;8;{number}\n")
        write(root / "Final_Test" / "Images" / f"{number:05d}.ppm", grey(10 * number + 1))
    rows = [f"{number:05d}.ppm;8;8;0;0;8;8;{number}" for number in NUMBERS]
    table = "\r\n".join(["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId", *rows, ""])
    write(root / "GT-final_test.csv", table)


def gtsrb_kaggle(root: Path) -> None:
    rows = []
    for number in NUMBERS:
        write(root / "Train" / str(number) / f"{number:05d}_00000.png", grey(10 * number))
        write(root / "Test" / f"{10 - number:05d}.png", grey(10 * number + 1))
        rows.append(f"8,8,0,0,8,8,{number},Test/{10 - number:05d}.png")
    head = "Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path"
    write(root / "Test.csv", "\n".join([head, *rows, ""]))
    write(root / "Train.csv", f"{head}\n")


def gtsrb_damaged(root: Path) -> None:
    """The original layout without its table, with a bad number, without an image; and Kaggle's without its columns."""
    for name in ("no_table", "bad_number", "image_missing"):
        for number in (0, 1):
            write(root / name / "Final_Training" / "Images" / f"{number:05d}" / "0.ppm", grey(number))
        write(root / name / "Final_Test" / "Images" / "00000.ppm", grey(2))
    write(root / "bad_number" / "GT-final_test.csv", "Filename;ClassId\n00000.ppm;2\n")
    write(root / "image_missing" / "GT-final_test.csv", "\ufeffFilename;ClassId\n00000.ppm;1\n00007.ppm;1\n")
    for number in (0, 1):
        write(root / "no_column" / "Train" / str(number) / "0.png", grey(number))
    write(root / "no_column" / "Test" / "0.png", grey(2))
    write(root / "no_column" / "Test.csv", "Label,File\n1,0.png\n")


def folders(root: Path) -> None:
    """Trees of train/ and test/ with what is found among images."""
    for name in ("sidecars", "damaged", "twice", "formats", "exif", "numbers"):
        for label, animal in enumerate(("cat", "dog")):
            write(root / name / "train" / animal / "one.png", grey(60 + 10 * label))
            write(root / name / "test" / animal / "one.png", grey(90 + 10 * label))
    train = root / "sidecars" / "train"
    for sidecar in ("@eaDir", "__MACOSX", ".ipynb_checkpoints"):
        write(train / sidecar / "one.png", grey(1))
        write(train / "cat" / sidecar / "one.png", grey(1))
    for photograph in ("a.heic", "b.heic", "c.heic"):
        write(train / "cat" / photograph, b"no image")
    write(train / "cat" / "Thumbs.db", b"no image")
    for part, names in (("train", ("2", "3", "4")), ("test", ("2",))):
        for number in names:
            write(root / "damaged" / part / "dog" / f"{number}.png", b"\x89PNG\r\n\x1a\n torn")
    write(root / "twice" / "test" / "dog" / "again.png", grey(60))
    for suffix, value in (("webp", 10), ("gif", 20), ("tiff", 30), ("bmp", 40), ("ppm", 50), ("jfif", 120)):
        write(root / "formats" / "train" / "cat" / f"{suffix}.{suffix}", grey(value))
    exif, picture = Image.Exif(), grey(0)
    exif[0x0112] = 6  # lies on its left side
    picture.paste((255, 255, 255), (0, 0, SIDE // 2, SIDE))
    picture.save(root / "exif" / "train" / "cat" / "one.png", exif=exif)
    for part in ("train", "test"):
        shutil.rmtree(root / "numbers" / part)
        for number in NUMBERS:
            write(root / "numbers" / part / str(number) / "one.bmp", grey(10 * number))


def archives(root: Path) -> None:
    """What is given in place of a folder."""
    for name, entries in (("empty.zip", ()), ("images.zip", ("train/cat/one.png",))):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for entry in entries:
                archive.writestr(zipfile.ZipInfo(entry), b"an image")
        write(root / name, content.getvalue())
    write(root / "data.csv", "label,pixels\n")


def make(root: Path) -> None:
    """Write all of it into a folder that is not there yet."""
    triggers(root / "triggers")
    gtsrb_original(root / "gtsrb_original")
    gtsrb_kaggle(root / "gtsrb_kaggle")
    gtsrb_damaged(root / "gtsrb_damaged")
    folders(root / "folders")
    archives(root / "archives")


if __name__ == "__main__":
    shutil.rmtree(CORPUS, ignore_errors=True)
    make(CORPUS)

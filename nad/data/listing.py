"""The files of a data set: which are its images, of which class, and what is left out."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from nad.data.class_folders import in_label_order
from nad.data.opening import image_suffixes
from nad.errors import DataError

SIDECAR_FOLDERS = frozenset({
    "__macosx", "__pycache__", "@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",
    "$recycle.bin", "recycler", "system volume information", "lost+found", "network trash folder", "temporary items",
    "thevolumesettingsfolder",
})  # fmt: skip
"""Names, in lower case, of folders that systems and network drives leave among images; hidden ones are left out too."""
SIDECAR_FILES = frozenset({"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"})
HIDDEN, OF_THE_SYSTEM, STRAY = "hidden", "of the system", "outside of class folders"
NAMED_KINDS = 5
"""Kinds of skipped files, folders and classes that a line names."""


class Found(NamedTuple):
    """What lies in one folder and its subfolders."""

    files: list[Path]
    """The images, sorted by path."""
    skipped: Counter[str]
    """Number of other files, by the reason: their suffix as a rule."""
    left_out: Counter[str]
    """Number of folders that were not entered, by name."""


@dataclass(frozen=True)
class Skipped:
    """What a part of a data set holds beside its images."""

    files: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    thin: tuple[str, ...] = ()
    """Classes of whose files fewer than half are images, with both numbers."""

    def __add__(self, other: Skipped) -> Skipped:
        return Skipped(self.files + other.files, self.folders + other.folders, (*self.thin, *other.thin))

    def __str__(self) -> str:
        """One line, or nothing."""
        said = []
        if self.files:
            said.append(f"skipped files: {_counts(self.files)}")
        if self.folders:
            said.append(f"left out folders: {_counts(self.folders)}")
        if self.thin:
            said.append(f"fewer than half of the files are images in {_some(self.thin)}")
        return "; ".join(said)


@dataclass(frozen=True)
class Listing:
    """The files of one part of a data set, and the class of each."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    skipped: Skipped = Skipped()


def require_folder(root: Path) -> None:
    """Raise DataError for a data folder that is not there, or a file such as an archive."""
    if root.is_dir():
        return
    if not root.exists():
        raise DataError(f"the data folder {root} does not exist; name one that is there")
    if zipfile.is_zipfile(root) or tarfile.is_tarfile(root):
        raise DataError(f"{root} is an archive; unpack it, and name the folder with its images")
    raise DataError(f"{root} is a file; name the folder with the images")


def list_part(root: Path, part: str) -> Listing:
    """The images of every class folder in root/part, in the order of their labels.

    Raises: DataError for a missing or empty folder, and where class folders cannot be told apart.
    """
    folder = root / part
    require_folder(root)
    if not folder.is_dir():
        raise DataError(
            f"the data folder {root} has no folder {part}/; it needs train/ and test/, each with one folder per class"
        )
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from error
    folders = [entry for entry in entries if entry.is_dir()]
    kept = [entry for entry in folders if not _is_sidecar(entry.name) and not _leads_back(entry)]
    classes = {name: images_under(path) for name, path in in_label_order(kept).items()}
    outside = Skipped(
        Counter(_reason(entry.name, STRAY) for entry in entries if not entry.is_dir()),
        Counter(entry.name for entry in folders if _is_sidecar(entry.name)),
    )
    skipped = sum((_skipped(part, name, found) for name, found in classes.items()), outside)
    _require_images(folder, classes, skipped)
    return Listing(
        files=tuple(file for found in classes.values() for file in found.files),
        labels=tuple(label for label, found in enumerate(classes.values()) for _ in found.files),
        class_names=tuple(classes),
        skipped=skipped,
    )


def _skipped(part: str, name: str, found: Found) -> Skipped:
    images, others = len(found.files), sum(_ordinary(found.skipped).values())
    thin = (f"{part}/{name} ({images} of {images + others})",) if images < others else ()
    return Skipped(found.skipped, found.left_out, thin)


def _require_images(folder: Path, classes: dict[str, Found], skipped: Skipped) -> None:
    if not any(found.files for found in classes.values()):
        beside = but_others(skipped.files)
        raise DataError(
            f"no images in {folder}{beside}; expected {folder.name}/<class>/*.jpg, *.png or others that Pillow reads"
        )
    for name, found in classes.items():
        if not found.files:
            beside = but_others(found.skipped)
            remedy = "convert them" if beside else "fill it"
            raise DataError(f"the class folder {folder / name} has no images{beside}; {remedy} or remove it")


def but_others(skipped: Counter[str]) -> str:
    """What a folder without images holds, as the end of a sentence; nothing for what systems leave."""
    others = _ordinary(skipped)
    return f" but other files ({_counts(others)})" if others else ""


def _ordinary(skipped: Counter[str]) -> Counter[str]:
    """Without the files that a system leaves among the user's."""
    return Counter({reason: count for reason, count in skipped.items() if reason not in (HIDDEN, OF_THE_SYSTEM)})


def images_under(folder: Path) -> Found:
    """The image files in a folder and its subfolders, by name, and what is left out; see `load_folder`.

    Raises: DataError for a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = Found([], Counter(), Counter())
    try:
        for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
            found.left_out.update(name for name in folders if _is_sidecar(name))
            folders[:] = [name for name in folders if not _is_sidecar(name) and not _leads_back(Path(parent, name))]
            for name in names:
                if _is_image(name):
                    found.files.append(Path(parent, name))
                else:
                    found.skipped[_reason(name, Path(name).suffix.lower() or "without a suffix")] += 1
    except OSError as error:
        raise _unreadable(folder, error) from error
    found.files.sort()
    return found


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in image_suffixes() and not name.startswith(".")


def _reason(name: str, otherwise: str) -> str:
    if name.startswith("."):
        return HIDDEN
    return OF_THE_SYSTEM if name.lower() in SIDECAR_FILES else otherwise


def _is_sidecar(name: str) -> bool:
    return name.startswith(".") or name.lower() in SIDECAR_FOLDERS


def _counts(counted: Counter[str]) -> str:
    return _some([f"{count} {what}" for what, count in counted.most_common()])


def _some(texts: Iterable[str]) -> str:
    texts = list(texts)
    more = len(texts) - NAMED_KINDS
    return ", ".join(texts[:NAMED_KINDS]) + (f" and {more} more" if more > 0 else "")


def _unreadable(folder: Path, error: OSError) -> DataError:
    return DataError(f"the folder {folder} cannot be read: {error}; let this user read it")


def _leads_back(folder: Path) -> bool:
    """Whether this is a link to a folder that the way to it leads through: all that is there would be met again."""
    if not folder.is_symlink():
        return False
    end = folder.resolve()
    return any(step.resolve().is_relative_to(end) for step in folder.parents)

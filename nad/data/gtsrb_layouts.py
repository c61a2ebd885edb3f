"""GTSRB as it is downloaded: the layout of the original archives, and Kaggle's.

Original: `Final_Training/Images/00000/*.ppm`, `Final_Test/Images/*.ppm` and `GT-final_test.csv` (semicolons, columns
Filename and ClassId), in a folder GTSRB or not. Kaggle: `Train/0/*.png`, `Test/*.png` and `Test.csv` (columns Path and
ClassId). Source: Stallkamp et al. 2012, its download page; the Kaggle data set gtsrb-german-traffic-sign.
Images are taken whole, as torchvision does; the tables' region of interest is not cut out.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from nad.data.listing import Listing, Skipped, images_under, list_part
from nad.errors import DataError

ORIGINAL_TABLE, KAGGLE_TABLE = "GT-final_test.csv", "Test.csv"
NAMED = 3
"""Most missing images named in an error."""


def list_gtsrb(root: Path) -> dict[str, Listing] | None:
    """Training images and, if there, test images of either layout; None for another folder.

    Raises: DataError for a test set without its table of labels, a damaged table, or images that are missing.
    """
    base = next((folder for folder in (root, root / "GTSRB") if (folder / "Final_Training" / "Images").is_dir()), None)
    if base is not None:
        train, test = _without_tables(list_part(base / "Final_Training", "Images")), base / "Final_Test" / "Images"
        places = [folder / ORIGINAL_TABLE for folder in (test, test.parent, base, root)]
        return _with_test(train, test, places, "Filename", test)
    if (root / "Train").is_dir() and ((root / "Train.csv").is_file() or (root / KAGGLE_TABLE).is_file()):
        train = _without_tables(list_part(root, "Train"))
        return _with_test(train, root / "Test", [root / KAGGLE_TABLE], "Path", root)
    return None


def _without_tables(listing: Listing) -> Listing:
    """Without a remark on the tables: they belong to the layout."""
    others = Counter({kind: count for kind, count in listing.skipped.files.items() if kind != ".csv"})
    return replace(listing, skipped=replace(listing.skipped, files=others))


def _with_test(train: Listing, folder: Path, places: list[Path], column: str, base: Path) -> dict[str, Listing]:
    """Both parts.  places: where the test set's table may be.  base: where the names in its column begin."""
    if not folder.is_dir():
        return {"train": train}
    table = next((place for place in places if place.is_file()), None)
    if table is None:
        raise DataError(f"{folder} has no labels: put {places[0].name} there or beside it; without it, remove {folder}")
    by_number = {int(name): label for label, name in enumerate(train.class_names) if name.isdecimal()}
    labels = {base / name: label for name, label in _rows(table, column, by_number)}
    found = images_under(folder)
    _require_there(table, sorted(labels.keys() - set(found.files)))
    unlabelled = sum(file not in labels for file in found.files)
    skipped = Counter({f"not in {table.name}": unlabelled}) if unlabelled else Counter()
    files = sorted(labels)
    listed = tuple(labels[file] for file in files)
    return {"train": train, "test": Listing(tuple(files), listed, train.class_names, Skipped(skipped, found.left_out))}


def _rows(table: Path, column: str, by_number: Mapping[int, int]) -> Iterator[tuple[str, int]]:
    """The file and the label of each line.  by_number: labels by the number of the class folder."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the table {table} cannot be read: {error}; download it again") from error
    if len(lines) < 2:
        raise DataError(f"the table {table} lists no images; download it again")
    reader = csv.DictReader(lines, delimiter=";" if ";" in lines[0] else ",")
    for row in reader:
        name, number = row.get(column), row.get("ClassId")
        if not name or number is None:
            raise DataError(
                f"line {reader.line_num} of the table {table} has no {column} or no ClassId; its columns:"
                f" {', '.join(reader.fieldnames or ())}"
            )
        if not number.strip().isdecimal() or int(number) not in by_number:
            raise DataError(
                f"line {reader.line_num} of the table {table} has the ClassId {number!r}, and there is no such folder"
                " of training images"
            )
        yield name, by_number[int(number)]


def _require_there(table: Path, missing: list[Path]) -> None:
    if missing:
        named = ", ".join(file.name for file in missing[:NAMED])
        more = f" and {len(missing) - NAMED:,} more" if len(missing) > NAMED else ""
        raise DataError(f"images of the table {table} are not there: {named}{more}; unpack the archive again")

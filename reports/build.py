"""`python -m reports.build DIR`: the report of a study, made again from its folder, without torch."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reports.files import ReportError
from reports.page import render
from reports.study_folder import read_study

__all__ = ["ReportError", "build", "main"]

REPORT_FILE = "report.html"


def build(directory: Path) -> Path:
    """Write the report into the study's folder and return its path; a report that was there is replaced at once.

    Raises: ReportError, one sentence, when the folder is not that of a study with trials, or cannot be written.
    """
    page = render(read_study(directory))
    report = directory / REPORT_FILE
    try:
        # Lone surrogates, which JSON can carry but UTF-8 cannot, become question marks.
        _replace(report, page.encode("utf-8", errors="replace"))
    except OSError as error:
        raise ReportError(
            f"{str(report)!r} cannot be written: {error.strerror}; free some space or change the folder's permissions"
        ) from error
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 for a mistake of the user's."""
    parser = argparse.ArgumentParser(prog="python -m reports.build", description="Make a study's report again.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="the study's folder, such as runs/refool-fashion-m")
    directory = parser.parse_args(arguments).directory
    try:
        print(build(directory))
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _replace(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never a part. Its mode is 0600."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())

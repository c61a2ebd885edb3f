"""`nad-study report DIR...`, also `python -m reports.build`: the report of one or more studies, without torch."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from reports.comparison import read_studies
from reports.figures import images
from reports.files import ReportError, write_text
from reports.page.comparison_page import comparison_figures, render_comparison
from reports.page.study_page import render, study_figures
from reports.streams import show_any_text
from reports.study_folder import Study, read_study
from reports.summary_text import summary_text
from reports.watch import watch

__all__ = ["ReportError", "build", "main"]

REPORT_FILE = "report.html"
SUMMARY_FILE = "summary.md"
COMPARISON_FILE = Path("comparison.html")

DESCRIPTION = """\
Make the report of a study anew from its folder: report.html, and the same as Markdown, summary.md, both written into
that folder. With several folders, make one page that compares these studies, comparison.html."""
EXAMPLES = """\
examples:
  nad-study report runs/refool-fashion-c
  nad-study report runs/refool-fashion-c --watch
  nad-study report runs/refool-fashion-c --images png svg
  nad-study report runs/refool-cifar10 runs/badnets-cifar10 --output cifar10.html

Nothing is trained and nothing is sent anywhere: a report is made from what the study wrote. It ends with exit code 2
and one sentence where something is to be mended, with 130 on Ctrl-C."""


def build(directory: Path) -> Path:
    """Write the report and its summary into the study's folder; replaces old ones.

    Returns the report's path.  Raises: ReportError for a folder without a study's trials, or one closed to writing.
    """
    return write_report(read_study(directory), directory)


def write_report(study: Study, directory: Path) -> Path:
    """Write the files of `build` for a study in memory."""
    report, page, summary = directory / REPORT_FILE, render(study), summary_text(study)
    write_text(report, page)
    write_text(directory / SUMMARY_FILE, summary)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Returns the exit code: 0, 2 for a user's mistake, 130 for an interrupt, 141 for a broken pipe.
    """
    show_any_text()
    given = _parser().parse_args(arguments)
    try:
        _run(given)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # broken pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        print(f"error: {error.strerror or error} ({error.filename or 'no file'}); mend that", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the report is as the last line says", file=sys.stderr)
        return 130
    return 0


def _run(given: argparse.Namespace) -> None:
    several = len(given.directories) > 1
    _check(given, several=several)
    if given.watch:
        watch(given.directories[0], write_report, _say)
        return
    if several:
        studies = read_studies(given.directories, also_unfinished=given.unfinished)
        page = given.output or COMPARISON_FILE
        write_text(page, render_comparison(studies))
        _say(page)
        figures = comparison_figures(studies) if given.images else {}
    else:
        directory = given.directories[0]
        study = read_study(directory)
        page = write_report(study, directory)
        _say(page)
        _say(directory / SUMMARY_FILE)
        figures = study_figures(study) if given.images else {}
    if given.images:
        for path in images.write_images(figures, given.images, page.with_name(f"{page.stem}-figures")):
            _say(path)


def _check(given: argparse.Namespace, *, several: bool) -> None:
    """Raise ReportError for contradicting options."""
    if several and given.watch:
        raise ReportError("--watch takes one study's folder; compare studies when they have ended")
    if given.watch and given.images:
        raise ReportError("--watch makes no images; add --images when the study has ended")
    if not several and given.output:
        raise ReportError("--output is for comparing several studies; the report of one goes into its folder")
    if not several and given.unfinished:
        raise ReportError("--unfinished is for comparing several studies; the report of one states its missing trials")


def _say(line: object) -> None:
    """Unbuffered, also into a pipe."""
    print(line, flush=True)


class _Parser(argparse.ArgumentParser):
    """One-sentence errors, without the usage lines."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; `{self.prog} --help` says more\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nad-study report",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "directories", type=Path, nargs="+", metavar="DIR", help="a study's folder, such as runs/refool-fashion-c"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help=f"path of the comparison (default: {COMPARISON_FILE})"
    )
    parser.add_argument("--unfinished", action="store_true", help="compare unfinished studies, too")
    parser.add_argument(
        "--images",
        nargs="+",
        choices=images.FORMATS,
        metavar="FORMAT",
        help="also write each figure as png, svg or both, into a folder beside the page; needs a Chromium and"
        " pip install 'nad-study[images]'",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="write the report whenever the files of the running study change; ends by itself when the study has its"
        " wanted trials and no process runs it, or on Ctrl-C",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The report of a running study, built again at each change of its files."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from reports.caveats import unfinished
from reports.files import NotBegunError, ReportError
from reports.formatting import STATE_LABELS
from reports.study_folder import PICTURE_FILE, REQUIRED_FILES, Study, read_study

POLL_SECONDS = 2.0
CONFIG_FILE, *RECORDS = REQUIRED_FILES
"""A study writes the first when it starts, the others with its first trial."""
LOCK_FILE = "study.lock"

Marks = tuple[tuple[int, int] | None, ...]
"""Time of change in ns and size of each of a study's files; None for a missing one."""


def watch(
    directory: Path,
    write: Callable[[Study, Path], Path],
    say: Callable[[str], None],
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Rewrite the report at each change of the study's files, until the study ends.

    say: takes one line for each report; a study without a trial is waited for.
    Raises: ReportError for a folder without a study, or a report without permission to write.
    """
    study, seen, waiting = None, None, False
    while True:
        # Ask before reading the files, so the last files of an ending study are seen.
        ended = study is not None and unfinished(study) is None and not is_running(directory)
        marks = _file_marks(directory)
        if marks != seen:
            seen = marks
            study = _read(directory)
            if study is not None:
                report = write(study, directory)
                say(f"{datetime.now().astimezone():%H:%M:%S%z} {report}: {trials_so_far(study)}")
            elif not waiting:
                waiting = True
                say(f"{datetime.now().astimezone():%H:%M:%S%z} {directory} has no trial yet; waiting for its first")
        elif ended:
            return
        wait(POLL_SECONDS)


def is_running(directory: Path) -> bool:
    """True if a process holds the study's lock.

    Asking holds the lock for an instant, and a study starting just then would see another driver. Hence `watch` asks
    only once a study has all its trials, and stops after the first free lock.
    """
    lock = directory / LOCK_FILE
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # not ours to lock, so not ours to wait for
        return False


def _file_marks(directory: Path) -> Marks:
    """Changes with each of the study's writes."""
    return tuple(_mark(directory / name) for name in (*REQUIRED_FILES, PICTURE_FILE))


def trials_so_far(study: Study) -> str:
    """Such as '12 of 40 trials complete, 3 pruned, 2 running, 1 failed'."""
    counted = [(study.count(state), STATE_LABELS[state]) for state in ("PRUNED", "RUNNING", "FAIL")]
    others = "".join(f", {count} {word}" for count, word in counted if count)
    return f"{len(study.complete)} of {study.summary.wanted_trials} trials complete{others}"


def _read(directory: Path) -> Study | None:
    """The study, or None while it has no trial."""
    if (directory / CONFIG_FILE).is_file() and not all((directory / name).is_file() for name in RECORDS):
        return None
    try:
        return read_study(directory)
    except NotBegunError:
        return None


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReportError(f"{str(path)!r} cannot be read ({error.strerror}); check its permissions") from error
    return status.st_mtime_ns, status.st_size

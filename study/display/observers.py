"""Observers of every trial beside the record: display, logs and, with --tensorboard, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from study.display.progress import Display
from study.display.tensorboard import TensorBoard
from study.display.trial_logs import DriverLog, TrialLogs
from study.record.folder import StudyFolder
from study.search.trial_event import TrialEvent


@contextmanager
def observers(
    name: str, trials: int, folder: StudyFolder, display: Display, *, tensorboard: bool
) -> Iterator[Callable[[TrialEvent], None]]:
    """Call the result with every event of one run.  Starts the display's log."""
    display.log = DriverLog(folder.driver_log)
    display.begin(name, folder.path, trials)
    writers: list[TrialLogs | TensorBoard] = [TrialLogs(folder.logs)]
    if tensorboard:
        writers.append(TensorBoard(folder.tensorboard))

    def observe(event: TrialEvent) -> None:
        for told in (display.trial, *writers):
            told(event)

    try:
        yield observe
    finally:
        for writer in writers:
            writer.close()

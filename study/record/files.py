"""The files that other programs read, kept up to date while a study runs: its record's shadow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import optuna

from study.record import exports
from study.record.folder import StudyFolder
from study.record.writing import write_json

SHARE = 0.02
"""Of a study's time that may go into files after each trial: what they cost grows with the trials they hold."""


class StudyFiles:
    """trials.csv, trials.parquet and summary.json of one study.

    read: what summary.json is to say now.
    """

    def __init__(self, folder: StudyFolder, study: optuna.Study, read: Callable[[], dict[str, Any]]) -> None:
        self._folder, self._study, self._read = folder, study, read
        self._due = 0.0  # on time.monotonic's clock

    def write(self) -> dict[str, Any]:
        """Bring the files up to date; returns what summary.json says.

        Raises: NadError where they cannot be written.
        """
        began = time.monotonic()
        table = exports.trials_table(self._study)
        exports.write_table(self._folder.trials, table)
        exports.write_parquet(self._folder.parquet, table)
        summary = self._read()
        write_json(self._folder.summary, summary)
        ended = time.monotonic()
        self._due = ended + (ended - began) / SHARE
        return summary

    def refresh(self) -> None:
        """Bring the files up to date, unless that was done so short ago that it would take more than its share."""
        if time.monotonic() >= self._due:
            self.write()

"""Keeps trials.csv, trials.parquet, settings.csv and summary.json up to date while a study runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import optuna

from reports.analysis.frontier import Bound
from study.record import exports
from study.record.folder import StudyFolder
from study.record.writing import write_json

SHARE = 0.02
"""Limit of a study's time for rewriting files after trials; the cost grows with their number."""


class StudyFiles:
    """trials.csv, trials.parquet, settings.csv and summary.json of one study.

    read: the current content of summary.json.
    """

    def __init__(
        self, folder: StudyFolder, study: optuna.Study, bound: Bound, read: Callable[[], dict[str, Any]]
    ) -> None:
        self._folder, self._study, self._bound, self._read = folder, study, bound, read
        self._due = 0.0  # on time.monotonic's clock

    def write(self) -> dict[str, Any]:
        """Bring the files up to date; returns the content of summary.json.

        Raises: NadError if they cannot be written.
        """
        began = time.monotonic()
        table = exports.trials_table(self._study)
        exports.write_table(self._folder.trials, table)
        exports.write_parquet(self._folder.parquet, table)
        exports.write_table(self._folder.settings, exports.settings_table(self._study, self._bound))
        summary = self._read()
        write_json(self._folder.summary, summary)
        ended = time.monotonic()
        self._due = ended + (ended - began) / SHARE
        return summary

    def refresh(self) -> None:
        """Bring the files up to date, unless that would exceed SHARE."""
        if time.monotonic() >= self._due:
            self.write()

"""One driver per record in databases and shared file systems, beyond file locks.

The driver marks the record: an attribute of the study with its name and a counter, raised all the time. Clocks are not
compared: a second driver watches the counter, and is refused if it moves. A driver whose mark was replaced by another
stops writing. Terms tell a late write of an earlier driver from a later driver's mark: each driver's term is higher
than the last, even after an orderly end.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

import optuna

from nad.errors import ConfigError
from study.record.driver import Driver
from study.record.retrying_storage import RetryingStorage

BEAT = 15.0
"""Seconds between two marks of a driver."""

WATCH = 45.0
"""A driver on another host counts as gone after so many seconds without a new mark."""

_MARK = "driver"  # system attribute of the study: its driver's facts and term, or after an orderly end the term alone


@contextmanager
def sole_driver(
    study: optuna.Study, known: Driver | None, *, take_over: bool, say: Callable[[str], None]
) -> Iterator[None]:
    """Hold the study's record; bar its storage once another driver takes over.

    study: from `study.record.storage.open_study`.
    known: a dead driver already reported to the user.
    take_over: do not wait for a driver that may still run; it notices and stops.
    Raises: ConfigError if another driver runs this study.
    """
    _require_free(study, known, take_over, say)
    storage = cast("RetryingStorage", study._storage)
    heart = _Heart(study, storage, term=_term_of(_mark_of(study)) + 1)
    heart.beat()
    storage.suspect = heart.check
    ended = threading.Event()
    thread = threading.Thread(target=heart.run, args=(ended,), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=BEAT)
        with suppress(Exception):  # of a lost storage: the next driver finds a mark at rest
            heart.leave()


class _Heart:
    """Marks the record as this process's; without retries, as a missed beat does no harm."""

    def __init__(self, study: optuna.Study, storage: RetryingStorage, term: int) -> None:
        self._name, self._id, self._storage, self._term = study.study_name, study._study_id, storage, term
        self._driver, self._token, self._count = Driver.current(), secrets.token_hex(8), 0

    def run(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT):
            with suppress(Exception):
                self.check()
                if self._storage.barred:
                    return
                self.beat()

    def beat(self) -> None:
        self._count += 1
        facts = self._driver.facts()
        self._put({**facts, "token": self._token, "term": self._term, "count": self._count})

    def leave(self) -> None:
        self.check()
        if not self._storage.barred:
            self._put({"token": self._token, "term": self._term})

    def check(self) -> None:
        """Bar the storage at a later driver's mark; replace an earlier one's."""
        mark = self._storage.inner.get_study_system_attrs(self._id).get(_MARK)
        if mark is None or mark.get("token") == self._token:
            return
        if _term_of(mark) < self._term:
            self.beat()
        else:
            self._storage.barred = (
                f"the study {self._name!r} has been taken over by {Driver.read(mark) or 'another process'}; this one"
                " has stopped, and its finished trials are kept"
            )

    def _put(self, mark: dict[str, Any] | None) -> None:
        self._storage.inner.set_study_system_attr(self._id, _MARK, mark)


def _require_free(study: optuna.Study, known: Driver | None, take_over: bool, say: Callable[[str], None]) -> None:
    mark = _mark_of(study)
    driver = Driver.read(mark)
    if driver is None:
        return
    lives = not take_over and not driver.gone and (driver.alive or _moves(study, mark, driver, say))
    if lives:
        raise ConfigError(
            f"the study {study.study_name!r} is being run by {driver}; wait for it, stop it, or take it over by force"
            " with --take-over"
        )
    if driver != known:
        say(f"the study is taken over from {driver}: its unfinished trials run again")


def _moves(study: optuna.Study, mark: Any, driver: Driver, say: Callable[[str], None]) -> bool:
    """True if a driver out of sight goes on marking the record."""
    say(f"the study was run by {driver} last; waiting up to {WATCH:g} seconds for a sign that it still runs")
    deadline = time.monotonic() + WATCH
    while time.monotonic() < deadline:
        time.sleep(min(1.0, WATCH / 10))
        now = _mark_of(study)
        if now != mark:
            return Driver.read(now) is not None
    return False


def _term_of(mark: Mapping[str, Any] | None) -> int:
    return int((mark or {}).get("term", 0))


def _mark_of(study: optuna.Study) -> Any:
    return study._storage.get_study_system_attrs(study._study_id).get(_MARK)

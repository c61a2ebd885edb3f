"""One driver per record, where a file's lock does not reach: databases and file systems that several machines share.

The record itself says who drives it: an attribute of the study, with a counter that its driver raises all the time. No
clock is compared: whoever else wants the study watches whether the counter moves. A driver that finds another one's
mark in place of its own writes nothing more. Each driver's term is higher than the one before it had, also where that
one had left: what an earlier driver wrote late, between its look and its mark, is so told from a later one's.
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
"""Seconds without a mark after which a driver on another host counts as gone."""

_MARK = "driver"  # system attribute of the study: its driver's facts, or without them only the term that is over


@contextmanager
def sole_driver(
    study: optuna.Study, known: Driver | None, *, take_over: bool, say: Callable[[str], None]
) -> Iterator[None]:
    """Hold the study's record while this block runs; its storage is barred where another driver takes over.

    study: from `study.record.storage.open_study`.
    known: a driver of which the user was told already that it is gone.
    take_over: do not wait for one that may still run; it stops by itself when it notices.
    Raises: ConfigError where another driver runs this study.
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
        with suppress(Exception):  # of a storage that is gone: the next driver finds a mark that does not move
            heart.leave()


class _Heart:
    """Marks the record as this process's; asks the storage itself, for a missed beat is no harm."""

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
        """Bar the storage where the mark is a later driver's; an earlier one's, which came late, is replaced."""
        mark = self._storage.inner.get_study_system_attrs(self._id).get(_MARK)
        if mark is None or mark.get("token") == self._token:
            return
        if _term_of(mark) < self._term:
            self.beat()
        else:
            self._storage.barred = (
                f"the study {self._name!r} has been taken over by {Driver.read(mark) or 'another process'}; this one"
                " has stopped, and what it had finished is kept"
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
    """Whether a driver that cannot be seen from here goes on marking the record; it may also leave in the meantime."""
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

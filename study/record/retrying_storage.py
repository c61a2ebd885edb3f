"""Waits through a storage's outages, then repeats the failed calls."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from nad.errors import NadError
from study.record.texts import fitted

Result = TypeVar("Result")

PATIENCE = 300.0
"""Seconds of retrying during an outage."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_PASSING = (
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.EBUSY, errno.EAGAIN, errno.ECONNREFUSED, errno.ECONNRESET),
)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _passed_on(name: str) -> Any:
    """The inner storage's method of this name, with retries; a write's texts are fitted."""

    def read(self: RetryingStorage, *given: Any, **named: Any) -> Any:
        return self._ask(lambda: getattr(self.inner, name)(*given, **named))

    def write(self: RetryingStorage, *given: Any, **named: Any) -> Any:
        return self._write(lambda: getattr(self.inner, name)(*fitted(given), **fitted(named)))

    return read if name.startswith("get_") else write


class RetryingStorage(BaseStorage):
    """A storage with retries, in growing pauses, during outages.

    A call without an answer may still have been carried out; a retry checks for that first. This takes a single writer
    per study: its driver.

    say: told once at the start of an outage, and once at its end.
    patience: seconds until NadError is raised; from then on each call is made once.
    """

    def __init__(self, inner: BaseStorage, say: Callable[[str], None], patience: float = PATIENCE) -> None:
        self.inner = inner
        self.barred = ""
        """A sentence why nothing may be written any more; empty while it may."""
        self.suspect: Callable[[], None] = lambda: None
        """Called as trials begin and end, and on signs of another writer; may set `barred`."""
        self._say, self._patience, self._given_up = say, patience, False
        self._newest: dict[int, int] = {}
        """Of each study: the id of its last new trial."""

    def _ask(self, call: Callable[[], Result], again: Callable[[], Result] | None = None) -> Result:
        """call's answer; after an outage, that of `again` in its place."""
        try:
            return call()
        except Exception as error:
            if not is_outage(error):
                raise
            return self._insist(again or call, error)

    def _insist(self, call: Callable[[], Result], error: Exception) -> Result:
        began, pause, told = time.monotonic(), _FIRST_PAUSE, False
        while not self._given_up and time.monotonic() - began < self._patience:
            if not told:
                told = True
                self._say(f"the storage does not answer ({_reason(error)}); trying again for {_span(self._patience)}")
            time.sleep(min(pause, max(0.0, self._patience - (time.monotonic() - began))))
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                answer = call()
            except Exception as another:
                if not is_outage(another):
                    raise
                error = another
                continue
            self._say("the storage answers again; nothing was lost")
            return answer
        self._given_up = True
        raise NadError(
            f"the storage did not answer for {_span(self._patience)} ({_reason(error)}); mend that and run the same"
            " command again: finished trials are kept, unfinished ones run again"
        ) from error

    def _write(self, call: Callable[[], Result], again: Callable[[], Result] | None = None) -> Result:
        """The same for writes.  Raises: NadError if another driver has taken over."""
        self._require_right()
        try:
            return self._ask(call, again)
        except UpdateFinishedTrialError:
            self._check_for_others()
            raise

    def _check_for_others(self) -> None:
        self._ask(self.suspect)
        self._require_right()

    def _require_right(self) -> None:
        if self.barred:
            raise NadError(self.barred)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._check_for_others()
        if study_id not in self._newest:
            self._newest[study_id] = max(
                (trial._trial_id for trial in self.get_all_trials(study_id, False)), default=-1
            )

        def again() -> int:
            newest = max((t._trial_id for t in self.inner.get_all_trials(study_id, deepcopy=False)), default=-1)
            return newest if newest > self._newest[study_id] else self.inner.create_new_trial(study_id, template_trial)

        made = self._write(lambda: self.inner.create_new_trial(study_id, template_trial), again)
        self._newest[study_id] = made
        return made

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._check_for_others()

        def again() -> bool:
            reached = self.inner.get_trial(trial_id).state is state
            return reached or self.inner.set_trial_state_values(trial_id, state, values)

        return self._write(lambda: self.inner.set_trial_state_values(trial_id, state, values), again)

    def remove_session(self) -> None:
        self.inner.remove_session()

    create_new_study = _passed_on("create_new_study")
    delete_study = _passed_on("delete_study")
    set_study_user_attr = _passed_on("set_study_user_attr")
    set_study_system_attr = _passed_on("set_study_system_attr")
    set_trial_param = _passed_on("set_trial_param")
    set_trial_intermediate_value = _passed_on("set_trial_intermediate_value")
    set_trial_user_attr = _passed_on("set_trial_user_attr")
    set_trial_system_attr = _passed_on("set_trial_system_attr")

    get_study_id_from_name = _passed_on("get_study_id_from_name")
    get_study_name_from_id = _passed_on("get_study_name_from_id")
    get_study_directions = _passed_on("get_study_directions")
    get_study_user_attrs = _passed_on("get_study_user_attrs")
    get_study_system_attrs = _passed_on("get_study_system_attrs")
    get_all_studies = _passed_on("get_all_studies")
    get_trial = _passed_on("get_trial")
    get_trial_id_from_study_id_trial_number = _passed_on("get_trial_id_from_study_id_trial_number")
    get_all_trials = _passed_on("get_all_trials")
    get_n_trials = _passed_on("get_n_trials")


def is_outage(error: BaseException) -> bool:
    """True for passing errors: no connection, a lock, a silent file system."""
    cause = _cause(error)
    if isinstance(cause, OSError):
        return cause.errno in _PASSING
    if not isinstance(cause, DBAPIError):
        return False
    code = getattr(cause.orig, "sqlite_errorcode", None)
    if code is not None:
        # Among SQLite's I/O errors, the shared memory's means a full disk.
        hiccup = code & 0xFF == sqlite3.SQLITE_IOERR and code != sqlite3.SQLITE_IOERR_SHMSIZE
        return hiccup or code & 0xFF in _LOCKED
    return cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ or error if isinstance(error, StorageInternalError) else error


def _reason(error: BaseException) -> str:
    """One line without the statement and its values."""
    cause = _cause(error)
    return str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"

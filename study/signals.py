"""Ctrl-C, SIGTERM, a closed terminal: once to finish running trials, twice to stop.

Outside the search, the first one stops at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP

_SIGPIPE_EXIT = 128 + 13


@contextmanager
def read_to_the_end() -> Iterator[None]:
    """Exit quietly on a broken pipe, such as after `| head`.

    Raises: SystemExit with 141, a shell's code for SIGPIPE.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains about unwritten output at exit
        raise SystemExit(_SIGPIPE_EXIT) from None


class Interrupted(KeyboardInterrupt):
    """This process was ended from outside, by `signal`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """A shell's code for this signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal


@contextmanager
def handled_by(handler: Callable[[int], None]) -> Iterator[None]:
    """Call handler(number), in the main thread between two instructions, for each signal during the block.

    A signal ignored from the start, such as SIGHUP under nohup, stays ignored. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        handler(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number, action in before.items() if action not in (signal.SIG_IGN, None)]
    for number in heard:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """End the block at the first signal.  Raises: Interrupted."""
    taken: list[int] = []

    def stop(number: int) -> None:
        taken.append(number)
        raise Interrupted(number)

    try:
        with handled_by(stop):
            yield
    except KeyboardInterrupt as error:
        if taken and not isinstance(error, Interrupted):  # a waiting Ray turns any error of a handler into this
            raise Interrupted(taken[-1]) from None
        raise


@contextmanager
def stopped_by_the_second() -> Iterator[None]:
    """Ignore the first signal, meant for a search just ended, as by `stop --now`.

    Raises: Interrupted at the second one.
    """
    passed: list[int] = []

    def stop(number: int) -> None:
        passed.append(number)
        if len(passed) > 1:
            raise Interrupted(number)

    with handled_by(stop):
        yield


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore the signals' handlers after the block; Ray sets its own for SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, action in before.items():
            if action is not None:  # None: not set from Python, and so cannot be restored
                signal.signal(number, action)


@contextmanager
def deaf_to_hangups() -> Iterator[None]:
    """Let child processes outlive a closed terminal: their parent ends them in order.

    Ray itself does this for Ctrl-C.
    """
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@dataclass
class Interruption:
    """A search's signals: the first finishes running trials, the second stops at once.

    on_first: called at the first one, to tell the user.
    """

    on_first: Callable[[], object]
    signal: int | None = None
    at_once: bool = False
    told: bool = False

    def take(self, number: int) -> None:
        """Note a signal; a third one cuts even the ending short.  Raises: Interrupted."""
        if self.at_once:
            raise Interrupted(number)
        self.at_once = self.signal is not None
        self.signal = number

    def act(self) -> Interrupted | None:
        """Act on the signals; returns the error to end the run with, if any."""
        if self.at_once:
            return self.as_error()
        if self.signal is not None and not self.told:
            self.told = True
            with suppress(Exception):  # running trials finish even if nobody can be told
                self.on_first()
        return None

    def as_error(self) -> Interrupted | None:
        """The error of an interrupted run; None without a signal."""
        return None if self.signal is None else Interrupted(self.signal)

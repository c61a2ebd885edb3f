"""Ctrl-C, SIGTERM and a closed terminal: once to finish what runs, twice to stop at once.

Where nothing is worth finishing, the first one stops at once.
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
    """Leave quietly, as other programs do, where whoever read this one's output has left, as `head` does.

    Raises: SystemExit with what a shell reports of a process that SIGPIPE has ended.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains of the rest at its end
        raise SystemExit(_SIGPIPE_EXIT) from None


class Interrupted(KeyboardInterrupt):
    """Somebody ended this process from outside.  signal: by which signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """As a shell reports a process that a signal has ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal


@contextmanager
def handled_by(handler: Callable[[int], None]) -> Iterator[None]:
    """Call handler(signal's number), in the main thread between two instructions, for each that comes in this block.

    A signal that this process was started to ignore, such as SIGHUP under nohup, stays ignored. Outside the main thread
    nothing is changed.
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
    """The first signal ends what is done in this block.  Raises: Interrupted."""
    taken: list[int] = []

    def stop(number: int) -> None:
        taken.append(number)
        raise Interrupted(number)

    try:
        with handled_by(stop):
            yield
    except KeyboardInterrupt as error:
        if taken and not isinstance(error, Interrupted):  # while it waits, Ray makes this of whatever a handler raises
            raise Interrupted(taken[-1]) from None
        raise


@contextmanager
def stopped_by_the_second() -> Iterator[None]:
    """The first signal passes: it was meant for what has ended already, as that of `nad-study stop --now`.

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
    """What is done in this block may set handlers, as Ray does for SIGTERM; at its end they are as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, action in before.items():
            if action is not None:  # one that was not set from Python cannot be set again
                signal.signal(number, action)


@contextmanager
def deaf_to_hangups() -> Iterator[None]:
    """Processes that are started in this block outlive a closed terminal: what started them ends them in good order.

    Ray does the same for Ctrl-C, which a terminal sends to all of them, too.
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
    """The signals of a search: the first lets running trials finish, the second stops at once.

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
        """Act on the signals so far; returns the error to end the run with, if any."""
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

"""`nad-study stop NAME`: ends a study that runs, and says what became of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nad.errors import NadError
from study.commands.overview import UNFINISHED, find, look
from study.options.command_line import one_line_errors
from study.options.helptext import documented
from study.record.driver import Driver, driver_of

POLL_SECONDS = 0.2
TOLD_EVERY = 60.0
"""Seconds between two sentences of a long wait."""
LONGEST_END = 120.0
"""Seconds that a driver may take to end once it was told to stop at once."""


@documented
@dataclass(frozen=True, kw_only=True)
class StopConfig:
    """Stop a study that runs: it starts no further trial, lets the running ones finish, writes its report, and ends.

    A run of a baseline or of the confirmation is not waited for: `nad-study resume` makes it again. This command waits
    until the study has ended; Ctrl-C ends the waiting, not the stopping. A study that does not run is no error: there
    is nothing to do, and the exit code is 0.
    """

    name: Annotated[str, tyro.conf.Positional]
    """The study, or the path of its folder."""
    output: Path = Path("runs")
    """Folder of all studies."""
    now: bool = False
    """Do not wait for the running trials: they are lost, and `nad-study resume` asks their settings again."""


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code.  Raises: NadError where the study cannot be stopped from here."""
    with one_line_errors(StopConfig, arguments):
        config = tyro.cli(StopConfig, args=arguments, prog="nad-study stop")
    folder = find(config.name, config.output)
    driver = driver_of(folder.path)
    if driver is None or driver.alive is False:
        print(f"the study {folder.name!r} is not running")
        return 0
    if driver.alive is None:
        raise NadError(
            f"the study {folder.name!r} runs on the host {driver.host!r} as process {driver.pid}, which cannot be"
            f" reached from here; run this command there, or: ssh {driver.host} kill {driver.pid}"
        )
    try:
        stop(driver, folder.name, now=config.now)
    except KeyboardInterrupt:
        print(f"no longer waiting; the study {folder.name!r} still stops by itself")
        return 130
    after = look(folder, live=True)
    left = f"; {after.left} left, `nad-study resume {folder.path}` goes on" if after.state == UNFINISHED else ""
    print(f"stopped: {after.done} of {after.wanted} trials are done{left}")
    return 0


def stop(driver: Driver, name: str, *, now: bool) -> None:
    """Ask the driver to end, and wait until it has.

    Raises: NadError where it may not be asked, or does not end at once although told so.
    """
    _ask(driver, name)
    if now:
        # Two signals at the same moment would arrive as one
        _wait(driver, 1.0)
        _ask(driver, name)
    print(
        f"the study {name!r} (process {driver.pid}) stops{'' if now else '; trials that are running finish first'}",
        flush=True,
    )
    if _wait(driver, LONGEST_END if now else None):
        return
    raise NadError(
        f"the study {name!r} has not ended within {LONGEST_END:g} seconds; end its process with: kill -9 {driver.pid}"
    )


def _ask(driver: Driver, name: str) -> None:
    try:
        os.kill(driver.pid, signal.SIGTERM)
    except ProcessLookupError:
        return  # it has ended by itself
    except PermissionError as error:
        raise NadError(
            f"the study {name!r} is run by another user as process {driver.pid}; only they can stop it"
        ) from error


def _wait(driver: Driver, seconds: float | None) -> bool:
    """Whether the driver has ended, within so many seconds where that is limited."""
    start = told = time.monotonic()
    while driver.alive:
        now = time.monotonic()
        if seconds is not None and now - start > seconds:
            return False
        if now - told > TOLD_EVERY:
            told = now
            print(f"still waiting, for {(now - start) / 60:.0f} min; --now would end it at once", flush=True)
        time.sleep(POLL_SECONDS)
    return True

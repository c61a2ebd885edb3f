"""`nad-study stop NAME`: ends a running study, and waits for its end."""

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
from study.commands.overview import UNFINISHED, find, read_overview
from study.options.command_line import one_line_errors
from study.options.helptext import documented
from study.record.driver import Driver, driver_of

POLL_SECONDS = 0.2
TOLD_EVERY = 60.0
"""Seconds between two messages of a long wait."""
LONGEST_END = 120.0
"""Limit in seconds for a driver to end with --now."""


@documented
@dataclass(frozen=True, kw_only=True)
class StopConfig:
    """Stop a running study after its running trials, with a report.

    Runs of baselines and confirmation are cut short; `nad-study resume` repeats them. This command waits for the
    study's end; Ctrl-C ends the waiting, not the stopping. For a study that is not running it does nothing, with exit
    code 0.
    """

    name: Annotated[str, tyro.conf.Positional]
    """The study, or the path of its folder."""
    output: Path = Path("runs")
    """Folder of all studies."""
    now: bool = False
    """Cut the running trials short; `nad-study resume` asks their settings again."""


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code.  Raises: NadError if the study cannot be stopped from here."""
    with one_line_errors(StopConfig, arguments):
        config = tyro.cli(StopConfig, args=arguments, prog="nad-study stop")
    folder = find(config.name, config.output)
    driver = driver_of(folder.path)
    if driver is None or driver.alive is False:
        print(f"the study {folder.name!r} is not running")
        return 0
    if driver.alive is None:
        raise NadError(
            f"the study {folder.name!r} runs on the host {driver.host!r} as process {driver.pid}, out of reach from"
            f" here; run this command there, or: ssh {driver.host} kill {driver.pid}"
        )
    try:
        stop(driver, folder.name, now=config.now)
    except KeyboardInterrupt:
        print(f"no longer waiting; the study {folder.name!r} still stops by itself")
        return 130
    after = read_overview(folder, live=True)
    left = f"; {after.left} left, `nad-study resume {folder.path}` goes on" if after.state == UNFINISHED else ""
    print(f"stopped: {after.done} of {after.wanted} trials are done{left}")
    return 0


def stop(driver: Driver, name: str, *, now: bool) -> None:
    """Ask the driver to end, and wait for that.

    Raises: NadError if it belongs to another user, or with --now does not end in time.
    """
    _ask(driver, name)
    if now:
        # Two signals at the same moment would arrive as one
        _wait(driver, 1.0)
        _ask(driver, name)
    print(
        f"the study {name!r} (process {driver.pid}) stops{'' if now else '; running trials finish first'}",
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
    """Wait for the driver's end; false if it takes longer than so many seconds."""
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

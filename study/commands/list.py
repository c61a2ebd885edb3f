"""`nad-study list`: the studies of a folder, one a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.formatting import NONE, percent
from study.commands.overview import UNFINISHED, Overview, read_overview, studies
from study.options.command_line import one_line_errors
from study.options.helptext import documented

COLUMNS = ("study", "attack", "data set", "trials", "failed", "running", "ASR", "ACC", "state", "last change")


@documented
@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """List the studies of a folder: progress, recommended scores, state.

    ASR and ACC are the validation scores of the recommended trial; without one, those of the front's lowest ASR, in
    brackets.
    """

    output: Path = Path("runs")
    """Folder of all studies."""
    json: bool = False
    """Print one JSON array instead, for other programs."""


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code.  Raises: NadError for the user's mistakes."""
    with one_line_errors(ListConfig, arguments):
        config = tyro.cli(ListConfig, args=arguments, prog="nad-study list")
    found = [read_overview(folder) for folder in studies(config.output)]
    if config.json:
        print(json.dumps([facts(study) for study in found], indent=2))
    elif not found:
        print(f"no studies in {config.output}")
    else:
        show(found, Console())
    return 0


def facts(study: Overview) -> dict[str, Any]:
    """One study as JSON values; docs/running.md describes them."""
    changed = study.changed
    return {
        "study": study.name,
        "folder": str(study.folder.path),
        "attack": study.attack,
        "dataset": study.dataset,
        "state": study.state,
        "left": study.left or None,
        "driver": _driver_facts(study),
        "wanted_trials": study.wanted,
        "trials": dict(study.trials),
        "recommended": study.recommended,
        "best": study.best,
        "changed": changed.isoformat(timespec="seconds") if changed else None,
        "troubles": list(study.troubles),
    }


def _driver_facts(study: Overview) -> dict[str, Any] | None:
    """The driver at work, or None."""
    driver = study.driver if study.runs else None
    if driver is None:
        return None
    return {"host": driver.host, "pid": driver.pid, "started": driver.started}


def show(found: Sequence[Overview], console: Console) -> None:
    """A table in a terminal; elsewhere plain aligned lines for grep and cut."""
    rows = [_row(study) for study in found]
    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
        for row in (COLUMNS, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    else:
        table = Table(box=None, pad_edge=False)
        for name in COLUMNS:
            table.add_column(name, justify="right" if name in ("trials", "failed", "running", "ASR", "ACC") else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)


def _row(study: Overview) -> tuple[str, ...]:
    scores = [percent(study.best[name]) if study.best else NONE for name in ("asr", "acc")]
    if study.best and study.recommended is None:
        scores = [f"({score})" for score in scores]
    return (
        study.name,
        study.attack or NONE,
        study.dataset or NONE,
        f"{study.done}/{study.wanted if study.wanted is not None else '?'}" if study.trials else NONE,
        str(study.trials.get("failed", NONE)),
        str(study.trials.get("running", NONE)) if study.runs else NONE,
        *scores,
        state(study),
        when(study.changed),
    )


def state(study: Overview) -> str:
    """Such as `running (host a, pid 123)` or `unfinished: 4 trials left`."""
    if study.runs and study.driver is not None:
        return f"{study.state} (host {study.driver.host}, pid {study.driver.pid})"
    if study.state == UNFINISHED:
        return f"{study.state}: {study.left} left"
    return "; ".join([study.state, *study.troubles])


def when(time: datetime | None) -> str:
    """In the reader's own time."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M") if time else NONE

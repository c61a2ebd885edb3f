"""All defences on one victim: `python -m benchmarks.defences --attack badnets --output rows.jsonl`.

Each row is measured in a process of its own by `benchmarks.defence_row`, and stored with its command: run it to measure
the row again. Rows that the file has are not measured again. A setting found by a study joins with --setting.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tyro

from benchmarks.defence_row import NAMES, SETTING
from benchmarks.subject import Subject
from nad.errors import unknown_name

Row = dict[str, Any]
Measure = Callable[[Sequence[str]], Row]
"""A command's row, from its words."""


@dataclass(frozen=True, kw_only=True)
class Arguments(Subject):
    """All defences on one victim, by several defenders."""

    output: Path
    """The rows, one JSON a line."""
    defences: tuple[str, ...] = tuple(name for name in NAMES if name != SETTING)
    setting: str | None = None
    """JSON: an erase's values by name, as in a study's settings.csv."""
    clean_fraction: float = 0.05
    draws: tuple[int, ...] = (1, 2, 3)
    """Defenders. A search meets draw 0 first, so that a setting found by a study is scored on others."""


def main(arguments: Arguments) -> None:
    """Measure the missing rows, and print the table."""
    fill(arguments, run)
    print(table(read(arguments.output)))


def fill(arguments: Arguments, measure: Measure) -> None:
    """Append each missing row to the file.

    Raises: ConfigError for an unknown defence; CalledProcessError for a row that failed.
    """
    for name in arguments.defences:
        if name not in NAMES:
            raise unknown_name("row", name, NAMES)
    known = {row["command"] for row in read(arguments.output)}
    for facts, words in planned(arguments):
        command = f"python -m benchmarks.defence_row {shlex.join(words)}"
        if command in known:
            continue
        row = {**facts, **measure(words), "command": command}
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{row['defence']}, draw {row['draw']}: {row}", file=sys.stderr)


def planned(arguments: Arguments) -> Iterator[tuple[Row, list[str]]]:
    """Each row's facts, and the words of its command."""
    names = [*arguments.defences, *([SETTING] if arguments.setting else [])]
    for draw in arguments.draws:
        for name in names:
            facts = {
                "attack": arguments.attack,
                "dataset": arguments.dataset,
                "clean_fraction": arguments.clean_fraction,
                "defence": name,
                "draw": draw,
            }
            victim = {each.name: getattr(arguments, each.name) for each in fields(Subject)}
            given = {**victim, **facts, "setting": arguments.setting if name == SETTING else None}
            yield facts, words_of(given)


def words_of(options: Mapping[str, Any]) -> list[str]:
    """Command-line words of these options; unset ones and those at the subject's defaults are left out."""
    usual = {each.name: each.default for each in fields(Subject)}
    words: list[str] = []
    for name, value in options.items():
        if value is None or (name in usual and value == usual[name]):
            continue
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{name.replace('_', '-')}", *(str(each) for each in values)]
    return words


def run(words: Sequence[str]) -> Row:
    """Measure one row in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.defence_row", *words], check=True, stdout=subprocess.PIPE, text=True
    )
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def read(path: Path) -> list[Row]:
    """The rows so far."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def table(rows: Sequence[Row]) -> str:
    """Means over the draws, in percent, lowest ASR first; as a table in Markdown."""
    lines = ["| defence | draws | diverged | ASR | lowest | highest | ACC | seconds | MB |", "| --- |" + " --- |" * 8]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["defence"], []).append(row)
    scored = {name: [row for row in group if "error" not in row] for name, group in groups.items()}
    for name in sorted(groups, key=lambda name: _mean(scored[name], "asr")):
        if not (good := scored[name]):
            lines.append(f"| {name} | {len(groups[name])} | {len(groups[name])} |" + " |" * 6)
            continue
        asr = [100 * row["asr"] for row in good]
        lines.append(
            f"| {name} | {len(groups[name])} | {len(groups[name]) - len(good)} | {100 * _mean(good, 'asr'):.1f} |"
            f" {min(asr):.1f} | {max(asr):.1f} | {100 * _mean(good, 'acc'):.1f} | {_mean(good, 'seconds'):.0f} |"
            f" {max(row['peak_megabytes'] for row in good)} |"
        )
    return "\n".join(lines)


def _mean(rows: Sequence[Row], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows) if rows else float("inf")


if __name__ == "__main__":
    main(tyro.cli(Arguments))

"""The command `nad-study`, also `python -m study`: one word per command, `run` by default."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from nad.errors import NadError, unknown_name
from reports.streams import show_any_text
from study.signals import read_to_the_end

COMMANDS = {
    "run": "study.run",
    "apply": "study.commands.apply",
    "defend": "study.commands.defend",
    "list": "study.commands.list",
    "show": "study.commands.show",
    "stop": "study.commands.stop",
    "resume": "study.commands.resume",
    "report": "reports.build",
}
"""Module of each command. Its `main` takes the remaining words; imported on call, since some take seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Options without a command go to `run`."""
    show_any_text()
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given.pop(0) if given and not given[0].startswith("-") else "run"
    try:
        if command not in COMMANDS:
            raise unknown_name("command", command, COMMANDS)
        with read_to_the_end():
            return int(import_module(COMMANDS[command]).main(given))
    except NadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

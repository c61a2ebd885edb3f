"""`nad-study`: runs a study, or with `apply` uses a setting that one has found."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["apply"]:
        from study.apply import main as apply  # not above: it needs no Ray, and a study need not know it

        return apply(given[1:])
    from study.run import main as run

    return run(given)

"""Whether a command that a page shows would be accepted: asked of the real command lines, without running anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence

import pytest
from pages import ROOT

import reports.build
import study.run

Words = Sequence[str]


class Refused(Exception):
    """The command would end in an error; says why."""


def check(words: Words) -> None:
    """Raise Refused for a command that a reader could not run as it stands."""
    if words[0] == "make":
        _make(words)
    elif words[0] == "nad-study":
        _study(words[1:])
    elif words[:2] == ("python", "-m") and words[2] in MODULES:
        MODULES[words[2]](words[3:])
    else:
        raise Refused(f"tests/docs does not know how to check {' '.join(words)!r}: teach it")


def _study(options: Words) -> None:
    """Read by tyro and by StudyConfig; a study would start now."""
    umask = os.umask(0o077)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(study.run, "run", lambda config, **_others: config.directory)
            _accepts(study.run.main, options)
    finally:
        os.umask(umask)


def _report(options: Words) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports.build, "build", lambda directory: directory)
        _accepts(reports.build.main, options)


def _accepts(main: Callable[[list[str]], int], options: Words) -> None:
    try:
        code = main(list(options))
    except SystemExit as leaving:
        code = leaving.code
    if code not in (0, None):
        raise Refused(f"exit code {code}")


def _make(words: Words) -> None:
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)


def _pytest(options: Words) -> None:
    for path in options:
        if not path.startswith("-") and not (ROOT / path).exists():
            raise Refused(f"{path} does not exist")


MODULES: dict[str, Callable[[Words], None]] = {"study.run": _study, "reports.build": _report, "pytest": _pytest}

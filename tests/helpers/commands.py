"""Checks of a page's commands against the real command lines, without running them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Callable, Sequence

import click
import pytest
import tyro
from pages import ROOT
from ray.scripts.scripts import cli as ray_commands

import reports.build
import study.commands.apply
import study.commands.defend
import study.run
from study.commands.list import ListConfig
from study.commands.resume import ResumeConfig
from study.commands.show import ShowConfig
from study.commands.stop import StopConfig

Words = Sequence[str]


class Refused(Exception):
    """The command would end in an error; says why."""


def check(words: Words) -> None:
    """Raise Refused for a command not runnable as printed."""
    if words[0] == "make":
        _make(words)
    elif words[:2] == ("nad-study", "apply"):
        _apply(words[2:])
    elif words[:2] == ("nad-study", "defend"):
        _defend(words[2:])
    elif words[0] == "ray":
        _ray(words[1:])
    elif words[0] in _SHELL:
        _shell(words)
    elif words[0] == "nad-study" and words[1] in COMMANDS:
        COMMANDS[words[1]](words[2:])
    elif words[0] == "nad-study":
        _study(words[2:] if words[1] == "run" else words[1:])
    elif words[:2] == ("python", "-m") and words[2].startswith("benchmarks."):
        _benchmark(words[2], words[3:])
    elif words[:2] == ("python", "-m") and words[2] in MODULES:
        MODULES[words[2]](words[3:])
    else:
        raise Refused(f"tests/docs does not know how to check {' '.join(words)!r}: teach it")


def _study(options: Words) -> None:
    """Read by tyro and by StudyConfig; a study would start now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.run, "run", lambda config, **_others: config.directory)
        _accepts(study.run.main, options)


def _apply(options: Words) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.commands.apply, "apply", lambda _config, _display: None)
        _accepts(study.commands.apply.main, options)


def _defend(options: Words) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.commands.defend, "defend", lambda _config, _display: None)
        _accepts(study.commands.defend.main, options)


def _looks(config: type) -> Callable[[Words], None]:
    """Options of a command about an existing study; its existence is not checked."""
    return lambda options: _accepts(lambda given: tyro.cli(config, args=given) and 0, options)


def _resume(options: Words) -> None:
    def read(given: list[str]) -> int:
        _named, changes = tyro.cli(ResumeConfig, args=given, return_unknown_args=True)
        _study(changes)
        return 0

    _accepts(read, options)


def _report(options: Words) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports.build, "_run", lambda given: reports.build._check(given, several=given.directories[1:]))
        _accepts(reports.build.main, options)


def _benchmark(name: str, options: Words) -> None:
    if importlib.util.find_spec(name) is None:
        raise Refused(f"there is no {name}")
    arguments = getattr(importlib.import_module(name), "Arguments", None)
    if arguments is not None:
        _looks(arguments)(options)
    elif options:
        raise Refused(f"{name} takes no options")


def _accepts(main: Callable[[list[str]], int], options: Words) -> None:
    umask = os.umask(0o077)
    try:
        code = main(list(options))
    except SystemExit as leaving:
        code = leaving.code
    finally:
        os.umask(umask)
    if code not in (0, None):
        raise Refused(f"exit code {code}")


def _ray(words: Words) -> None:
    """Read by Ray's own command line, without running it."""
    name, *options = words
    if name not in ray_commands.commands:
        raise Refused(f"there is no command ray {name}")
    try:
        ray_commands.commands[name].make_context(name, options)
    except click.ClickException as error:
        raise Refused(error.format_message()) from error


_SHELL = {"export": r"[A-Z_]+=\S+", "chmod": r"[0-7]{3} \S+"}
"""Shell commands allowed on a page, and their arguments."""


def _shell(words: Words) -> None:
    if not re.fullmatch(_SHELL[words[0]], " ".join(words[1:])):
        raise Refused(f"the shell would not understand {' '.join(words)!r}")


def _make(words: Words) -> None:
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)


def _pytest(options: Words) -> None:
    for path in options:
        if not path.startswith("-") and not (ROOT / path).exists():
            raise Refused(f"{path} does not exist")


COMMANDS: dict[str, Callable[[Words], None]] = {
    "list": _looks(ListConfig),
    "show": _looks(ShowConfig),
    "stop": _looks(StopConfig),
    "resume": _resume,
    "report": _report,
}

MODULES: dict[str, Callable[[Words], None]] = {"study.run": _study, "reports.build": _report, "pytest": _pytest}

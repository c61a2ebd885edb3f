"""`nad-study resume NAME`: a study's command again, from the settings in its folder."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from nad.errors import ConfigError
from study.commands.overview import find
from study.commands.record_reading import storage_of
from study.options.command_line import one_line_errors
from study.options.config import StudyConfig
from study.options.helptext import documented, fields_of, groups_of
from study.options.storage_url import hides_password
from study.record.folder import StudyFolder
from study.search.fork import fork_of

OF_ONE_RUN = ("json", "output", "name", "storage", "take_over", "fork")
"""Settings of a single run, not resumed as recorded: its display, its start, its files' places."""


@documented
@dataclass(frozen=True, kw_only=True)
class ResumeConfig:
    """Go on with a study as last run; further options, such as --trials, change it."""

    name: Annotated[str, tyro.conf.Positional]
    """The study, or the path of its folder."""
    output: Path = Path("runs")
    """Folder of all studies."""


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the study's exit code.  Raises: NadError for the user's mistakes."""
    if "--help" in arguments or "-h" in arguments:
        tyro.cli(ResumeConfig, args=["--help"], prog="nad-study resume")
    if arguments and (first := arguments[0].partition("=")[0]).startswith("-") and first != "--output":
        raise ConfigError(f"nad-study resume needs the study's NAME first, and {first} after it")
    with one_line_errors(ResumeConfig, arguments):
        chosen, changes = tyro.cli(ResumeConfig, args=arguments, prog="nad-study resume", return_unknown_args=True)
    folder = find(chosen.name, chosen.output)
    recorded = recorded_settings(folder)
    with one_line_errors(StudyConfig, changes):
        config = tyro.cli(StudyConfig, args=changes, prog="nad-study resume NAME", default=recorded)
    from study.run import main as run  # not above: Ray takes seconds, and a mistake should be reported at once

    return run(options_of(with_points_of_the_old(config, folder).settings))


def with_points_of_the_old(config: StudyConfig, folder: StudyFolder) -> StudyConfig:
    """The fork command again, if the fork ended before recording its points."""
    old = fork_of(folder.path)
    if old is None or folder.summary.exists() or config.record.fork is not None or config.directory != folder.path:
        return config
    return config.changed(name=old, fork=folder.name)


def recorded_settings(folder: StudyFolder) -> StudyConfig:
    """The settings of a study's last run; relative paths count from its working directory.

    Raises: ConfigError if they cannot be read, or have options of another version.
    """
    again = "give the study's command itself again, with the same --name and --output"
    try:
        config = json.loads(folder.config.read_text(encoding="utf-8"))
        settings = dict(config["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cannot read the settings of the study {folder.name!r} in {folder.config}; {again}"
        ) from error
    kinds = {name: kind for group in groups_of(StudyConfig) for name, kind in typing.get_type_hints(group).items()}
    if unknown := sorted(settings.keys() - kinds.keys()):
        raise ConfigError(
            f"the study {folder.name!r} was run by another version of nad-study, with options unknown to this one:"
            f" {', '.join(unknown)}; install that version, or {again}"
        )
    start = Path(config.get("directory") or ".")
    values = {name: _value(kinds[name], value, start) for name, value in settings.items() if name not in OF_ONE_RUN}
    if storage := storage_of(config):
        values["storage"] = storage
    return StudyConfig.of(**values, output=folder.path.parent, name=folder.name)


def options_of(settings: Mapping[str, Any]) -> list[str]:
    """The command line with these settings, without defaults.

    Raises: ConfigError for a storage without its password.
    """
    words: list[str] = []
    fields = fields_of(StudyConfig)
    for name, value in settings.items():
        if value == fields[name].default:
            continue
        option = name.replace("_", "-")
        if isinstance(value, str) and hides_password(value):
            raise ConfigError(f"the password in --{option} {value} is not stored; give --{option} again, in full")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, tuple):
            words += [f"--{option}", *map(str, value)]
        else:
            words += [f"--{option}", str(value)]
    return words


def _value(kind: Any, value: Any, start: Path) -> Any:
    """A JSON value in the field's type."""
    if value is None:
        return None
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)
    for one in kinds:
        if one is Path:
            path = Path(value)
            return path if str(path).startswith("~") else start / path
        if typing.get_origin(one) is tuple:
            return tuple(_value(typing.get_args(one)[0], entry, start) for entry in value)
    return value

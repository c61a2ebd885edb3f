"""`--fork NAME`: a new study with other settings, asking the old one's points again."""

from __future__ import annotations

import json
from pathlib import Path

from nad.errors import ConfigError
from study.options.config import StudyConfig
from study.search.warm_start import EarlierPoint, best_first_of

FORK_OF = "fork_of"
"""Key of config.json: the old study's name."""


def fork(config: StudyConfig) -> tuple[StudyConfig, list[EarlierPoint]]:
    """The new study's options, and the old one's settings, best first.

    Raises: ConfigError without an old study, or if the new name belongs to a study that is no fork of it.
    """
    old, new = config.directory, config.changed(name=config.record.fork)
    if new.directory == old:
        raise ConfigError(f"--fork {new.study_name!r} is the study itself; choose another name for the new one")
    if not (old / "config.json").is_file():
        raise ConfigError(
            f"--fork: there is no study {config.study_name!r} in {config.record.output}; name the old one with --name"
        )
    if (new.directory / "config.json").exists() and fork_of(new.directory) != old.name:
        raise ConfigError(
            f"--fork {new.study_name!r}: a study of that name exists already and is no fork of {old.name!r};"
            " choose another name"
        )
    return new, best_first_of(old, "--fork")


def fork_of(folder: Path) -> str | None:
    """Name of the study this folder's was forked from, or None."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found.get(FORK_OF) if isinstance(found, dict) else None

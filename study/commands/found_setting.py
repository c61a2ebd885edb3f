"""A study's setting, read from its summary.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from nad.erasure import EraseConfig
from nad.errors import ConfigError
from reports.files import damaged
from reports.summary_schema import FoundSettings, TrialSetting, read_summary
from search_spaces import Point


class FoundSetting(NamedTuple):
    """A setting and its origin."""

    study: str
    number: int
    """Of its trial."""
    params: dict[str, Any]
    erase: EraseConfig
    clean_images: int
    """Number of its defender's clean images."""


def read_setting(path: Path, trial: int | None) -> FoundSetting:
    """A study's recommended setting, or a trial's of its front.

    path: summary.json, or its folder.

    Raises: ReportError for another kind of file; ConfigError without such a study or setting.
    """
    if not path.exists():
        raise ConfigError(f"there is no study {str(path)!r}; give the folder of one, or its summary.json")
    file = path / "summary.json" if path.is_dir() else path
    summary = read_summary(file, FoundSettings)
    point, images = _point(summary, trial), summary.counts.get("train")
    if not isinstance(images, int):
        raise damaged(file, "has no 'counts.train'")
    fraction = point.params.get("clean_fraction")
    if not isinstance(fraction, (int, float)):
        raise damaged(file, f"has clean_fraction {fraction!r:.60} in trial {point.number}")
    return FoundSetting(
        study=summary.study,
        number=point.number,
        params=point.params,
        erase=_erase(file, point),
        clean_images=round(fraction * images),
    )


def _point(summary: FoundSettings, trial: int | None) -> TrialSetting:
    front = {point.number: point for point in summary.front}
    numbers = ", ".join(str(number) for number in sorted(front)) or "none"
    if trial is not None:
        if trial not in front:
            raise ConfigError(f"trial {trial} is not on the front of the study {summary.study!r}; on it are: {numbers}")
        return front[trial]
    recommended = summary.recommended
    if recommended is None:
        raise ConfigError(
            f"the study {summary.study!r} recommends no setting ({summary.recommended_why.rstrip('.')}); choose"
            f" one of its front with --trial: {numbers}"
        )
    return recommended


def _erase(file: Path, point: TrialSetting) -> EraseConfig:
    """A point's setting.  Raises: ConfigError for parameters that are none."""
    try:
        return Point.of(point.params).erase
    except (ConfigError, ValueError, TypeError) as error:
        raise ConfigError(f"trial {point.number} of {file} is not a setting of an erase: {error}") from error

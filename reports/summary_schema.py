"""Schema of summary.json: study/stages/summary.py fills it, every strict reader decodes it.

docs/summary.md explains the fields. Fields with a default are missing in older files. Unknown keys are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from reports.files import ReportError, damaged, read_json

Kind = TypeVar("Kind", bound="FoundSettings")

VERSION = 1
"""Raised when a key changes its meaning; new keys leave it."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Change = Annotated[float, Field(ge=-1, le=1)]


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


FractionInterval = Annotated[tuple[Fraction, Fraction], BeforeValidator(_pair)]
ChangeInterval = Annotated[tuple[Change, Change], BeforeValidator(_pair)]


class _Object(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True, validate_by_name=True, validate_by_alias=True)


class Validation(_Object):
    """Scores on the validation split: of one model, or estimates of a setting over fresh draws.

    The last four are of estimates alone.
    """

    asr: Fraction
    acc: Fraction
    balanced_acc: Fraction | None = None
    asr_ci: FractionInterval | None = None
    acc_ci: FractionInterval | None = None
    draws: int | None = None
    reliability: Fraction | None = None


class Run(_Object):
    """Scores of one erase on the test images."""

    draw: int
    asr: Fraction
    acc: Fraction
    balanced_acc: Fraction | None = None


class FreshTest(_Object):
    """Mean scores over `seeds` finished runs, with 95% intervals."""

    asr: Fraction | None
    acc: Fraction | None
    balanced_acc: Fraction | None = None
    asr_ci: FractionInterval | None
    acc_ci: FractionInterval | None
    seeds: int
    diverged: int
    runs: list[Run] = []


class Twin(FreshTest):
    """The same with beta = 0, and the mean differences within pairs of runs."""

    pairs: int
    asr_added: Change | None
    acc_added: Change | None
    asr_added_ci: ChangeInterval | None
    acc_added_ci: ChangeInterval | None


class CleanModel(_Object):
    """Cost of the recommended erase to a model without a backdoor."""

    before: FreshTest
    after: FreshTest
    acc_change: Change | None
    acc_change_ci: ChangeInterval | None


class Control(_Object):
    """number: None for the victim and for baselines.  settings, deeds, compute_seconds: of baselines alone."""

    name: str
    number: int | None
    params: dict[str, Any]
    validation: Validation
    test: FreshTest | None = None
    twin: Twin | None = None
    settings: dict[str, Any] = {}
    deeds: dict[str, Any] = {}
    compute_seconds: float | None = None


class TrialSetting(_Object):
    number: int
    params: dict[str, Any]


class TrialPoint(TrialSetting):
    """A trial of the front."""

    validation: Validation
    test: FreshTest | None = None
    twin: Twin | None = None


class Recommended(TrialPoint):
    why: str = ""
    clean_model: CleanModel | None = None


class LostBaseline(_Object):
    """A diverged baseline."""

    name: str
    clean_fraction: float
    error: str


class Work(_Object):
    """Planned and finished runs of a stage.  draws: fresh draws asked for, of the confirmation alone."""

    runs: int
    done: int
    draws: int | None = None


class Guess(_Object):
    """Skill of guessing: accuracy of the largest class alone, and the balanced accuracy of chance."""

    acc: Fraction
    balanced_acc: Fraction


class FoundSettings(_Object):
    """The part for `nad-study apply`."""

    version: Annotated[int, Field(alias="schema", ge=1, le=VERSION)] = VERSION
    study: str
    model: str
    teacher_model: str | None = None
    space: str | None = None
    counts: dict[str, Any]
    front: list[TrialSetting]
    recommended: TrialSetting | None
    recommended_why: str


class Summary(FoundSettings):
    """The whole of summary.json."""

    attack: str
    attack_settings: dict[str, Any]
    dataset: str
    seed: int
    command: str
    versions: dict[str, Any]
    created: str
    host: str
    git: str | None
    code_sha256: str | None = None
    victim: Validation
    victim_sha256: str
    victim_file: dict[str, Any] | None = None
    victim_threads: dict[str, int] | None = None
    teacher_sha256: str | None = None
    wanted_trials: int
    stopped: str | None = None
    baselines: Work | None = None
    confirmation: Work | None = None
    trials: dict[str, int] = {}
    seconds: dict[str, float | None]
    energy_kwh: float | None = None
    hypervolume: Fraction | None = None
    max_acc_drop: float
    guess: Guess | None = None
    front: list[TrialPoint]  # type: ignore[assignment]  # narrower, and never appended to
    controls: list[Control]
    lost_baselines: list[LostBaseline] | None = None
    recommended: Recommended | None


def read_summary(path: Path, kind: type[Kind]) -> Kind:
    """Decode summary.json, or the part of it in `kind`.  Raises: ReportError naming the first bad key."""
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
    where, value = _name(first["loc"]), first["input"]
    if where == "schema" and isinstance(value, int):
        raise ReportError(f"{str(path)!r} has schema {value}; this version reads {VERSION}: update nad-study")
    match first["type"]:
        case "missing" if isinstance(first["loc"][-1], int):
            what = f"has no two bounds at {_name(first['loc'][:-1])!r}"
        case "missing":
            what = f"has no {where!r}"
        case "dict_type" | "model_type":
            what = f"has no object at {where!r}"
        case "list_type":
            what = f"has no list at {where!r}"
        case "tuple_type" | "too_long":
            what = f"has no two bounds at {where!r}"
        case "greater_than_equal" | "less_than_equal":
            what = f"has {value!r} at {where!r}, outside its range"
        case _:
            what = f"has {str(value)!r:.60} at {where!r}"
    raise damaged(path, what)


def _name(location: tuple[int | str, ...]) -> str:
    """A key as readers write it: 'front[0].validation.acc'."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")

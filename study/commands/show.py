"""`nad-study show NAME`: one study's progress and results, also while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from reports.formatting import NONE, control_label, duration, percent, readable_params
from study.commands import list as listing
from study.commands.overview import FINISHED, UNFINISHED, Overview, find, read_overview
from study.display.trial_logs import log_of
from study.options.command_line import one_line_errors
from study.options.helptext import documented
from study.search import times

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FAILURES = 3
"""Number of last failures shown."""
PACE_TRIALS = 20
"""Number of this run's last finished trials, for its pace."""


@documented
@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Show one study: its driver, progress, front, controls and last failures.

    Reads the record, also of a running study, and changes nothing.
    """

    name: Annotated[str, tyro.conf.Positional]
    """The study, or the path of its folder."""
    output: Path = Path("runs")
    """Folder of all studies."""
    json: bool = False
    """Print one JSON object instead, for other programs."""


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit code.  Raises: NadError for the user's mistakes."""
    with one_line_errors(ShowConfig, arguments):
        config = tyro.cli(ShowConfig, args=arguments, prog="nad-study show")
    study = read_overview(find(config.name, config.output), live=True)
    if config.json:
        print(json.dumps(facts(study), indent=2, default=str))
    else:
        print("\n".join(lines(study)))
    return 0


def facts(study: Overview) -> dict[str, Any]:
    """The study as JSON values; docs/running.md describes them."""
    return {
        **listing.facts(study),
        "eta_seconds": eta(study),
        "running": [_begun(trial) for trial in _in_state(study, "RUNNING")],
        "failures": [
            {**_begun(trial), "error": _error(trial), "log": str(log_of(study.folder.logs, trial.number))}
            for trial in _in_state(study, "FAIL")[-FAILURES:]
        ],
        "front": study.front,
        "controls": study.controls,
        "said": said(study),
        "report": str(study.folder.report) if study.folder.report.exists() else None,
    }


def lines(study: Overview) -> Iterator[str]:
    """The same for people."""
    yield f"{study.name}: {study.attack or NONE} on {study.dataset or NONE}, {listing.state(study)}"
    yield f"trials: {_counts(study)}"
    for trial in _in_state(study, "RUNNING"):
        begun = times.began(trial)
        since = f" for {duration((datetime.now(UTC) - begun).total_seconds())}" if begun and study.runs else ""
        yield f"  trial {trial.number} runs{since}: {_settings(trial.params)}"
    if (sentence := said(study)) and study.state != FINISHED:
        yield f"last said: {sentence}"
    yield from _table("front, by validation scores", [(f"trial {point.get('number')}", point) for point in study.front])
    yield from _table(
        "controls", [(control_label(str(control.get("name"))), control) for control in study.controls], settings=False
    )
    if study.recommended is not None:
        yield f"recommended: trial {study.recommended.get('number')}. {study.recommended.get('why', '')}"
    elif why := study.summary.get("recommended_why"):
        yield f"recommended: none. {why}"
    for trial in _in_state(study, "FAIL")[-FAILURES:]:
        yield f"trial {trial.number} failed: {_error(trial)}"
    yield from (f"note: {trouble}" for trouble in study.troubles)
    if study.folder.report.exists():
        yield f"report: {study.folder.report}"
    if study.state == UNFINISHED:
        yield f"go on with: nad-study resume {study.folder.path}"


def eta(study: Overview) -> float | None:
    """Seconds until the wanted trials are done, at this run's pace; None if unknown."""
    if study.driver is None or not study.driver.alive or study.wanted is None:
        return None
    since = datetime.fromisoformat(study.driver.started)
    spans = ((times.began(trial), times.ended(trial)) for trial in _in_state(study, "COMPLETE", "PRUNED"))
    done = [(start, end) for start, end in spans if start and end and start >= since]
    done = sorted(done, key=lambda span: span[1])[-PACE_TRIALS:]
    left = study.wanted - study.done
    if not done or left <= 0:
        return None
    return (datetime.now(UTC) - min(start for start, _end in done)).total_seconds() / len(done) * left


def said(study: Overview) -> str | None:
    """The last line of the driver's log, with its time."""
    try:
        with study.folder.driver_log.open("rb") as file:
            file.seek(max(0, study.folder.driver_log.stat().st_size - 4096))
            last = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return last[-1] if last else None


def _counts(study: Overview) -> str:
    counts = study.trials
    parts = [f"{study.done} of {study.wanted if study.wanted is not None else '?'} done"]
    parts += [f"{counts[state]} {state}" for state in ("running", "failed", "pruned") if counts.get(state)]
    seconds = eta(study)
    return ", ".join(parts) + (f"; the rest takes about {duration(seconds)}" if seconds is not None else "")


def _in_state(study: Overview, *states: str) -> list[FrozenTrial]:
    return [trial for trial in study.record or () if trial.state.name in states]


def _begun(trial: FrozenTrial) -> dict[str, Any]:
    return {"number": trial.number, "params": trial.params, "started": trial.user_attrs.get("started")}


def _error(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("error", "for an unrecorded reason")).partition("\n")[0]


def _settings(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in readable_params(params).items())


def _table(title: str, points: Sequence[tuple[str, Mapping[str, Any]]], *, settings: bool = True) -> Iterator[str]:
    """Named points with their validation and test scores and their settings."""
    rows: list[tuple[str, ...]] = [("", "ASR", "ACC", "test ASR", "test ACC", "")]
    for name, point in points:
        scores = [_score(point.get(split), score) for split in ("validation", "test") for score in ("asr", "acc")]
        rows.append((name, *scores, _settings(point.get("params") or {}) if settings else ""))
    if len(rows) > 1:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        yield f"{title}:"
        for row in rows:
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:5], widths[1:5], strict=True)),
            ]
            yield f"  {'  '.join([*cells, row[5]])}".rstrip()


def _score(scores: Any, name: str) -> str:
    value = scores.get(name) if isinstance(scores, Mapping) else None
    return percent(value) if isinstance(value, int | float) else NONE

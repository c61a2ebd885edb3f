"""`python -m benchmarks.results [STUDY ...]`: keep finished studies in `results/`; rewrite the pages of the results.

A result is one small JSON named after its study: victim, controls, baselines and recommended setting with test scores
over seeds, the command, the versions. A study without confirmation has validation scores only, and a table of its own.
The pages: the table in docs/results.md, and all of docs/results-appendix.md. Without a study, only these are written.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from benchmarks.results_page import appendix, with_overview
from benchmarks.results_tables import BEYOND, TUNED
from reports.files import ReportError, read_json, write_text
from reports.formatting import distilled
from reports.study_folder import NO_DEFENCE, read_study

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
PAGE = ROOT / "docs" / "results.md"
APPENDIX = ROOT / "docs" / "results-appendix.md"

KEPT = (
    *("study", "attack", "attack_settings", "dataset", "model", "victim_sha256", "space", "seed"),
    *("created", "git", "versions"),
)
LOCAL = {
    **dict.fromkeys(("--output", "--cache", "--workers", "--address", "--storage", "--wait-for-nodes")),
    "--data-dir": "DIR",
}
"""Options about the machine of a study, with the placeholder for their value; None drops them."""

VICTIM_TOLERANCE = {"asr": 0.05, "acc": 0.03}
"""Allowed distance of a retrained victim from the recorded one: other processors sum in another order."""
ACC_TOLERANCE = 0.04
"""The same for the mean ACC of a control. Its ASR agrees if both 95% intervals overlap."""


@dataclass(frozen=True)
class Arguments:
    """Keep finished studies in results/; rewrite the pages of the results."""

    studies: Annotated[tuple[Path, ...], tyro.conf.Positional] = field(default=())
    """Folders of finished studies, confirmed on test images to the end or not at all."""


def main(arguments: Arguments) -> None:
    """Keep these studies and write the pages."""
    for folder in arguments.studies:
        study = read_study(folder)
        result = {**result_of(study.summary.model_dump(), study.config), BEYOND: beyond_fine_tuning(study.complete)}
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{result['study']}.json"
        write_text(path, json.dumps(result, indent=1) + "\n")
        print(f"{path.name}: {len(result['rows'])} rows")
    write_text(APPENDIX, appendix(all_results()))
    write_text(PAGE, with_overview(PAGE.read_text(encoding="utf-8"), all_results()))


def all_results() -> list[dict[str, Any]]:
    """What was kept, by data set and study."""
    return sorted(
        (read_json(path) for path in RESULTS.glob("*.json")), key=lambda each: (each["dataset"], each["study"])
    )


def result_of(summary: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The small JSON of a study.

    Raises: ReportError where the study did not come to its end.
    """
    require_searched(summary)
    rows = [_row(point["name"], point) for point in summary["controls"]]
    if (best := summary["recommended"]) is not None:
        rows.append({**_row("recommended", best), "clean_model": best["clean_model"]})
    if summary["confirmation"] is not None or any(row["test"] for row in rows):
        require_confirmed(summary["study"], rows)
    return {
        **{key: summary[key] for key in KEPT},
        "command": command(summary["command"]),
        "precision": config["identity"].get("precision", "float32"),
        "trials": summary["trials"]["complete"],
        "seconds": {stage: round(seconds) for stage, seconds in summary["seconds"].items()},
        "hypervolume": round(summary["hypervolume"], 4),
        "max_acc_drop": summary["max_acc_drop"],
        "recommended_why": summary["recommended_why"],
        "rows": rows,
        "lost_baselines": summary["lost_baselines"],
    }


def beyond_fine_tuning(trials: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many of the search's own trials have a lower ASR and a higher ACC than fine-tuning with as much clean data.

    trials: complete ones, as `reports.trial_table` reads them. By whether they distil: how many are `better`, `of` how
    many.
    """
    rows = trials.to_dict("records")
    tuned = {row["params"]["clean_fraction"]: row for row in rows if row["control"] == TUNED}
    counts = {kind: {"better": 0, "of": 0} for kind in ("distilling", "plain")}
    for row in rows:
        control = tuned.get(row["params"]["clean_fraction"])
        if row["control"] or control is None:  # the control with as much failed: nothing to beat
            continue
        count = counts["distilling" if distilled(row["params"]) else "plain"]
        count["of"] += 1
        count["better"] += int(row["asr"] < control["asr"] and row["acc"] > control["acc"])
    return counts


def require_searched(summary: Mapping[str, Any]) -> None:
    """Raise ReportError for an unfinished search."""
    ended, wanted = summary["trials"]["complete"] + summary["trials"]["pruned"], summary["wanted_trials"]
    if ended < wanted and summary["stopped"] is None:
        raise ReportError(f"the study {summary['study']!r} has {ended} of its {wanted} trials; run its command again")


def require_confirmed(study: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise ReportError unless each row has test scores, and all but the victim's are of as many runs."""
    again = "run its command again with --confirm 3"
    if lacking := [row["name"] for row in rows if row["test"] is None]:
        raise ReportError(f"the study {study!r} has no scores on test images for {', '.join(lacking)}; {again}")
    runs = [(row["name"], row["test"]["seeds"] + row["test"]["diverged"]) for row in rows if row["name"] != NO_DEFENCE]
    if len({count for _name, count in runs}) != 1:
        counts = ", ".join(f"{name} {count}" for name, count in runs) or "none"
        raise ReportError(f"the study {study!r} was not confirmed to the end (runs: {counts}); {again}")


def command(text: str) -> str:
    """A study's command without the options about its machine.

    Raises: ReportError for a remaining path.
    """
    words, kept = shlex.split(text), list[str]()
    while words:
        option, equals, value = words.pop(0).partition("=")
        if option not in LOCAL:
            kept.append(option + equals + value)
            continue
        if not equals:
            words.pop(0)
        if (placeholder := LOCAL[option]) is not None:
            kept += [option, placeholder]
    for word in kept:
        if "/" in word or "\\" in word:
            raise ReportError(f"the study's command names {word!r}, which others do not have: it cannot be kept")
    return shlex.join(kept)


def disagreements(known: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Where a result that was measured again is not what it was, a sentence each. The recommended settings are not
    compared: two searches may end at different ones."""
    found = []
    new = {_identity(row): row["test"] for row in again["rows"]}
    for row in known["rows"]:
        if row["name"] == "recommended":
            continue
        before, now = row["test"], new.get(_identity(row))
        if now is None:
            found.append(f"{row['name']} was not measured again")
        elif None in (before["asr"], now["asr"]):
            found.append(f"{row['name']} diverged")
        elif row["name"] == NO_DEFENCE:
            found += [
                f"the victim's {score} was {before[score]:.3f} and is {now[score]:.3f}"
                for score, tolerance in VICTIM_TOLERANCE.items()
                if abs(now[score] - before[score]) > tolerance
            ]
        else:
            found += _control_disagrees(row["name"], before, now)
    return found


def _control_disagrees(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    if abs(now["acc"] - before["acc"]) > ACC_TOLERANCE:
        yield f"{name}'s acc was {before['acc']:.3f} and is {now['acc']:.3f}"
    if not _overlap(before["asr_ci"], now["asr_ci"]):
        yield f"{name}'s asr was {before['asr']:.3f} and is {now['asr']:.3f}, outside both intervals"


def _overlap(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """A single run has no interval, and says nothing against the other."""
    return one is None or other is None or (one[0] <= other[1] and other[0] <= one[1])


def _identity(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["name"], json.dumps(row["params"], sort_keys=True)


def _row(name: str, point: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name} | {key: point[key] for key in ("params", "validation", "test", "twin")}


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments))
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

"""The table of docs/results.md on searches over several shares of clean data, which were not confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.results_tables import CODE, LABELS, PAPER, RECOMMENDED, TUNED, head, line, settings
from reports.study_folder import NO_DEFENCE
from reports.wording import NONE, percent

WHAT_SEARCHES_FOUND = """
## Over all shares of clean data

Searches of the whole space, in which the share of clean data is searched, too. They were not confirmed: ASR / ACC are
those of the validation images, which the search optimised, in one run each, and the best of many noisy runs looks
better than it is. *fine-tuning* is the released code's, with that share; NAD's two settings own the share nearest to
the paper's 5%. *beyond fine-tuning*: what the recommended setting adds to it, in points, where both own as much.
"""


def searched(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What searches over several shares of clean data found, on their validation images."""
    if not results:
        return
    shares = sorted(
        {row["params"]["clean_fraction"] for each in results for row in each["rows"] if row["name"] == TUNED}
    )
    tuned = (f"fine-tuning, {percent(share, 0)}" for share in shares)
    columns = ("victim", *tuned, LABELS[PAPER], LABELS[CODE], RECOMMENDED, "its scores", "beyond fine-tuning")
    yield WHAT_SEARCHES_FOUND
    yield head("study", *columns)
    for result in results:
        rows = {(row["name"], _share(row)): row["validation"] for row in result["rows"]}
        by_name = {row["name"]: row for row in result["rows"]}
        scores = [rows.get((TUNED, share)) for share in shares]
        scores += [by_name[name]["validation"] if name in by_name else None for name in (PAPER, CODE)]
        best = by_name.get(RECOMMENDED)
        found = (NONE, NONE, NONE)
        if best is not None:
            ours = best["validation"]
            found = (settings(best), _scores(ours), _added(ours, rows.get((TUNED, _share(best)))))
        yield line(result["study"], *map(_scores, (by_name[NO_DEFENCE]["validation"], *scores)), *found)


def _share(row: Mapping[str, Any]) -> float | None:
    """Of the clean data; the victim owns none."""
    share: float | None = row["params"].get("clean_fraction")
    return share


def _scores(validation: Mapping[str, float] | None) -> str:
    return NONE if validation is None else f"{percent(validation['asr'])} / {percent(validation['acc'])}"


def _added(ours: Mapping[str, float], other: Mapping[str, float] | None) -> str:
    if other is None:
        return NONE
    return " / ".join(f"{100 * (ours[score] - other[score]):+.1f}" for score in ("asr", "acc"))

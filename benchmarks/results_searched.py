"""The table of docs/results.md on searches over several shares of clean data, which were not confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.results_tables import BEYOND, CODE, LABELS, PAPER, RECOMMENDED, TUNED, head, line, settings
from reports.study_folder import NO_DEFENCE
from reports.wording import NONE, percent

SCORES = ("asr", "acc")

WHAT_SEARCHES_FOUND = """
## Over all shares of clean data

Searches of the whole space, in which the share of clean data is searched, too. They were not confirmed: ASR / ACC are
those of the validation images, which the search optimised, in one run each, and the best of many noisy runs looks
better than it is. *fine-tuning* is the released code's, with that share; NAD's two settings own the share nearest to
the paper's 5%. *beyond fine-tuning*: what the recommended setting adds to it, in points, where both own as much; and
how many of the search's own trials, by whether they distil, have a lower ASR and a higher ACC than it.
"""


def searched(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What searches over several shares of clean data found, on their validation images."""
    if not results:
        return
    rows = (row for result in results for row in result["rows"])
    shares = sorted({row["params"]["clean_fraction"] for row in rows if row["name"] == TUNED})
    tuned = (f"fine-tuning, {percent(share, 0)}" for share in shares)
    found = (RECOMMENDED, "its scores", "beyond fine-tuning", "trials beyond")
    yield WHAT_SEARCHES_FOUND
    yield head("study", "victim", *tuned, LABELS[PAPER], LABELS[CODE], *found)
    for result in results:
        yield line(result["study"], *_controls(result, shares), *_found(result), _beyond(result))


def _controls(result: Mapping[str, Any], shares: Sequence[float]) -> Iterator[str]:
    """The victim, fine-tuning with each share, and NAD's two settings."""
    for name, share in ((NO_DEFENCE, None), *((TUNED, share) for share in shares), (PAPER, None), (CODE, None)):
        yield _scores(_find(result, name, share))


def _found(result: Mapping[str, Any]) -> tuple[str, str, str]:
    """The recommended setting, its scores, and what it adds to fine-tuning."""
    best = _find(result, RECOMMENDED)
    if best is None:
        return NONE, NONE, NONE
    return settings(best), _scores(best), _added(best, _find(result, TUNED, best["params"]["clean_fraction"]))


def _beyond(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{count['better']} of {count['of']} {kind}" for kind, count in result[BEYOND].items())


def _find(result: Mapping[str, Any], name: str, share: float | None = None) -> Mapping[str, Any] | None:
    """The first row of this name, with this share of clean data where one is given."""
    rows = (row for row in result["rows"] if row["name"] == name)
    return next((row for row in rows if share is None or row["params"]["clean_fraction"] == share), None)


def _scores(row: Mapping[str, Any] | None) -> str:
    return NONE if row is None else f"{percent(row['validation']['asr'])} / {percent(row['validation']['acc'])}"


def _added(ours: Mapping[str, Any], other: Mapping[str, Any] | None) -> str:
    if other is None:
        return NONE
    return " / ".join(f"{100 * (ours['validation'][score] - other['validation'][score]):+.1f}" for score in SCORES)

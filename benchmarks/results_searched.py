"""Tables of searches over several clean fractions, and of searches without confirmation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.results_confirmed import comparison
from benchmarks.results_tables import (
    BEYOND,
    CODE,
    LABELS,
    PAPER,
    RECOMMENDED,
    TUNED,
    head,
    line,
    settings,
    test_scores,
)
from reports.analysis.objectives import OBJECTIVE_NAMES
from reports.formatting import NONE, percent
from reports.study_folder import NO_DEFENCE
from study.options.validation import BASELINES

WHAT_SEARCHES_FOUND = """
## Over all shares of clean data

Searches of the whole space, in which the share of clean data is searched, too. ASR / ACC are those of the validation
images, which the search optimised, in one run each, and the best of many noisy runs looks better than it is.
*fine-tuning* is the released code's, with that share; NAD's two settings own the share nearest to the paper's 5%.
*beyond fine-tuning*: what the recommended setting adds to it, in points, where both own as much; and how many of the
search's own trials, by whether they distil, have a lower ASR and a higher ACC than it.
"""


WHAT_WAS_CONFIRMED = """
### On the test images

Those of these searches that were confirmed, with fresh draws of clean images: scores as in the first table of this
page, verdicts and differences as in the second. *its twin* is the recommended setting without distillation. All own
as much clean data as the recommended setting, but for NAD's two settings, which own the share nearest to the paper's
5%, and where a share is named: such a defence was run by the study of that share above, on the same victim, with the
same draws.
"""


def searched(results: Sequence[Mapping[str, Any]], of_one_share: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What searches over several shares of clean data found, on their validation images and, if confirmed, on others.

    of_one_share: studies whose other defences are told of where a search over shares has none of its own.
    """
    if not results:
        return
    rows = (row for result in results for row in result["rows"])
    shown = sorted({row["params"]["clean_fraction"] for row in rows if row["name"] == TUNED})
    tuned = (f"fine-tuning, {percent(share, 0)}" for share in shown)
    found = (RECOMMENDED, "its scores", "beyond fine-tuning", "trials beyond")
    yield WHAT_SEARCHES_FOUND
    yield head("study", "victim", *tuned, LABELS[PAPER], LABELS[CODE], *found)
    for result in results:
        yield line(result["study"], *_controls(result, shown), *_found(result), _beyond(result))
    if again := [result for result in results if any(row["test"] for row in result["rows"])]:
        again = [{**result, "rows": [*result["rows"], *_lent(result, of_one_share)]} for result in again]
        yield WHAT_WAS_CONFIRMED
        others = [name for name in BASELINES if any(_find(result, name) for result in again)]
        names = (LABELS[TUNED], *(LABELS.get(name, name) for name in others), "its twin", LABELS[PAPER], LABELS[CODE])
        yield head("study", "clean model", "victim", RECOMMENDED, *(f"against {name}" for name in names))
        yield from (_confirmed(result, others) for result in again)


def _confirmed(result: Mapping[str, Any], others: Sequence[str]) -> str:
    """Test scores of the recommended setting, and its differences from other defences.

    others: baselines that any of the results has.
    """
    victim, best = _find(result, NO_DEFENCE), _find(result, RECOMMENDED)
    if best is None:
        nothing = (NONE for _ in range(4 + len(others)))
        return line(result["study"], NONE, test_scores(victim and victim["test"]), "none", *nothing)
    rivals = [_find(result, TUNED, best["params"]["clean_fraction"]), {"test": best["twin"]}]
    rivals += [_find(result, name) for name in (PAPER, CODE)]
    tuned, *rest = (
        NONE if one is None or one["test"] is None else comparison(best["test"], one["test"]) for one in rivals
    )
    return line(
        result["study"],
        test_scores(best["clean_model"] and best["clean_model"]["before"]),
        test_scores(victim and victim["test"]),
        test_scores(best["test"]),
        tuned,
        *(_against(best, result, name) for name in others),
        *rest,
    )


def _against(best: Mapping[str, Any], result: Mapping[str, Any], name: str) -> str:
    """Comparison with the baseline of equal clean data, or else with the only one, and its share."""
    share = best["params"]["clean_fraction"]
    if (rival := _find(result, name, share)) is not None:
        return comparison(best["test"], rival["test"])
    if (rival := _find(result, name)) is None:
        return NONE
    return f"{comparison(best['test'], rival['test'])} ({percent(rival['params']['clean_fraction'], 0)})"


def _lent(result: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Baselines of one-share studies on the same victim and seed, hence with the same draws."""
    for other in others:
        if all(other.get(key) == result[key] for key in ("victim_sha256", "seed", "precision")):
            yield from (row for row in other["rows"] if row["name"] in BASELINES)


def _controls(result: Mapping[str, Any], shares: Sequence[float]) -> Iterator[str]:
    """The victim, fine-tuning with each share, and NAD's two settings."""
    for name, share in ((NO_DEFENCE, None), *((TUNED, share) for share in shares), (PAPER, None), (CODE, None)):
        yield _scores(_find(result, name, share))


def _found(result: Mapping[str, Any]) -> tuple[str, str, str]:
    """The recommended setting, its scores, and its difference from fine-tuning."""
    best = _find(result, RECOMMENDED)
    if best is None:
        return NONE, NONE, NONE
    return settings(best), _scores(best), _added(best, _find(result, TUNED, best["params"]["clean_fraction"]))


def _beyond(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{count['better']} of {count['of']} {kind}" for kind, count in result[BEYOND].items())


def _find(result: Mapping[str, Any], name: str, share: float | None = None) -> Mapping[str, Any] | None:
    """First row of this name, optionally of this clean fraction."""
    rows = (row for row in result["rows"] if row["name"] == name)
    return next((row for row in rows if share is None or row["params"]["clean_fraction"] == share), None)


def _scores(row: Mapping[str, Any] | None) -> str:
    return NONE if row is None else f"{percent(row['validation']['asr'])} / {percent(row['validation']['acc'])}"


def _added(ours: Mapping[str, Any], other: Mapping[str, Any] | None) -> str:
    if other is None:
        return NONE
    first, second = ours["validation"], other["validation"]
    return " / ".join(f"{100 * (first[name] - second[name]):+.1f}" for name in OBJECTIVE_NAMES)

"""Tables of confirmed studies at one clean fraction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.results_tables import (
    CODE,
    DIVERGED,
    LABELS,
    PAPER,
    RECOMMENDED,
    TUNED_AS_PAPER,
    head,
    line,
    means,
    settings,
    shares,
    test_scores,
    title,
)
from reports.analysis.pairing import Added, Comparison, compare
from reports.formatting import NONE, percent
from reports.study_folder import NO_DEFENCE, FreshRun

VERDICTS = {(True, True): "both", (True, False): "ASR", (False, True): "ACC", (False, False): "neither"}
"""Keys: mean ASR lower, mean ACC higher."""

WHAT_BEATS = """
## What the recommended setting beats

The setting with the lowest ASR that the search found within the allowed loss of accuracy against the victim, measured
again with fresh seeds. *ACC lost / allowed*, in points: what it loses on the test images, and what the search allowed
on its validation images. *both*: a lower mean ASR and a higher mean ACC than the defence in that column; *ASR* or
*ACC*: that alone; *neither*: none of the two. Then what it adds to that defence's ASR / ACC, in points, over the
draws of clean images that both had; **bold** where the 95% interval of the paired differences excludes zero. What is
not bold may be chance, and so few draws rarely show more; of what is bold, as much as one in twenty of all figures may
be chance, too.
"""

WHAT_DISTILS = """
## What distillation adds

Each setting beside its twin: the same training by the same defenders in the same batches, with every beta at 0. What
the setting adds to the twin, as above. A dash: the setting does not distil, or was not run. The last lines are means
over the studies of a data set, each of them counted once, and have no interval: one seed gave all of them the same
images, draws of clean images and batches, so a spread over studies says little about other defenders.
"""
DISTILLED = (PAPER, CODE, RECOMMENDED)


OVERVIEW = {NO_DEFENCE: "victim", TUNED_AS_PAPER: "fine-tuning", PAPER: "NAD as published", RECOMMENDED: RECOMMENDED}


def overview(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The short table: one row per study, ASR / ACC."""
    yield head("attack, data", *OVERVIEW.values())
    for result in results:
        yield line(title(result), *(means((_find(result, name) or {}).get("test")) for name in OVERVIEW))


def confirmed(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Three tables: test scores, the recommended setting against its rivals, the effect of distillation."""
    if not results:
        return
    shown = {row["name"] for result in results for row in (*result["rows"], *result["lost_baselines"])}
    shown |= {TUNED_AS_PAPER} if any(_find(result, TUNED_AS_PAPER) for result in results) else set()
    known = [name for name in LABELS if name in shown]
    columns = [*known, *sorted(shown - {*known, RECOMMENDED}), *({RECOMMENDED} & shown)]
    yield head("study", "label", "clean data", "clean model", *(LABELS.get(name, name) for name in columns))
    for result in results:
        yield line(*_who(result), _clean_model(result), *(_cell(result, name) for name in columns))
    rivals = [name for name in columns if name not in (NO_DEFENCE, RECOMMENDED)]
    yield WHAT_BEATS
    yield head("study", RECOMMENDED, "ACC lost / allowed", *(LABELS.get(name, name) for name in rivals))
    yield from (_beats(result, rivals) for result in results)
    yield WHAT_DISTILS
    yield head("study", *(LABELS.get(name, name) for name in DISTILLED))
    yield from (line(result["study"], *(_added(result, name) for name in DISTILLED)) for result in results)
    yield from _pooled(results)


def comparison(ours: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Verdict and mean differences of two scores, over their common draws."""
    mine, its = ((FreshRun(**run) for run in scores["runs"]) for scores in (ours, other))
    found = compare(mine, its)
    return NONE if found is None else _verdict(found)


def _verdict(found: Comparison) -> str:
    verdict = VERDICTS[found.asr.mean < 0, found.acc.mean > 0]
    return f"{verdict}: {_points(found.asr)} / {_points(found.acc)}"


def _points(added: Added) -> str:
    """The mean in points, bold if its interval excludes zero."""
    mean = f"{100 * added.mean:+.1f}"
    return f"**{mean}**" if added.direction else mean


def _beats(result: Mapping[str, Any], rivals: Sequence[str]) -> str:
    best = _find(result, RECOMMENDED)
    allowed = f"{100 * result['max_acc_drop']:g}"
    if best is None or best["test"]["asr"] is None:
        found = "none" if best is None else DIVERGED
        return line(result["study"], found, f"{NONE} / {allowed}", *(NONE for _ in rivals))
    tests = [(_find(result, name) or {}).get("test") for name in rivals]
    lost = next(row["test"]["acc"] for row in result["rows"] if row["name"] == NO_DEFENCE) - best["test"]["acc"]
    comparisons = (NONE if test is None else comparison(best["test"], test) for test in tests)
    return line(result["study"], settings(best), f"{100 * lost:.1f} / {allowed}", *comparisons)


def _added(result: Mapping[str, Any], name: str) -> str:
    row = _find(result, name)
    return NONE if row is None or row["twin"] is None else comparison(row["test"], row["twin"])


def _pooled(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Mean effect of distillation, one line per data set with several studies."""
    for dataset in dict.fromkeys(result["dataset"] for result in results):
        studies = [result for result in results if result["dataset"] == dataset]
        if len(studies) < 2:
            continue
        cells = []
        for name in DISTILLED:
            twins = [(_find(result, name) or {}).get("twin") for result in studies]
            added = [(twin["asr_added"], twin["acc_added"]) for twin in twins if twin and twin["pairs"]]
            cells.append(f"{_mean(Comparison.of(added))} ({len(added)} studies)" if len(added) > 1 else NONE)
        yield line(f"mean, {dataset}", *cells)


def _mean(found: Comparison) -> str:
    return " / ".join(f"{100 * added.mean:+.1f}" for added in (found.asr, found.acc))


def _who(result: Mapping[str, Any]) -> tuple[str, str, str]:
    return result["study"], result["attack_settings"]["label_mode"], percent(shares(result)[0], 0)


def _find(result: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The row of this name."""
    if name == TUNED_AS_PAPER:
        distilled = _find(result, PAPER)
        return {"test": distilled["twin"]} if distilled and distilled["twin"] else None
    return next((row for row in result["rows"] if row["name"] == name), None)


def _cell(result: Mapping[str, Any], name: str) -> str:
    """Scores of a row by name; `diverged` for a defence lost on the study's own draw."""
    lost = {each["name"] for each in result["lost_baselines"]}
    return DIVERGED if name in lost else test_scores((_find(result, name) or {}).get("test"))


def _clean_model(result: Mapping[str, Any]) -> str:
    """Scores of the model without a backdoor."""
    known = (_find(result, RECOMMENDED) or {}).get("clean_model")
    return test_scores(known and known["before"])

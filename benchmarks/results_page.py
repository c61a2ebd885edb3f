"""docs/results.md, made of the results and of what others have published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.published import PUBLISHED, Published
from reports.study_folder import NO_DEFENCE
from reports.wording import NONE, percent, readable_params

RIVALS = ("fine-tuning", "fine-pruning", "mode-connectivity", "anp", "nad-paper", "nad-code")
"""Those that the recommended setting is compared with, in the order of the columns."""
LABELS = {
    NO_DEFENCE: "victim",
    "fine-tuning": "fine-tuning",
    "fine-pruning": "fine-pruning",
    "mode-connectivity": "MCR",
    "anp": "ANP",
    "nad-paper": "NAD, paper",
    "nad-code": "NAD, code",
    "recommended": "recommended",
}

HEAD = """# Results

This page is made from the files in `results/` by `python -m benchmarks.results`; a slow test measures one victim and
its controls again. Every figure is ASR / ACC on the test images, which nothing was tuned on: means over fresh seeds and
fresh draws of the defender's clean images, of the victim a single run. In brackets: the lowest and the highest ASR of
these runs, and how many there were. All defences of a row own the same share of clean data, that of the recommended
setting. `MCR` is mode connectivity repair.
"""

WHAT_BEATS = """
## What the recommended setting beats

The setting with the lowest ASR that the search found within the allowed loss of accuracy, measured again with fresh
seeds. *both*: a lower mean ASR and a higher mean ACC than the defence in that column; *ASR* or *ACC*: that alone;
*neither*: none of the two. The twin is the same setting without distillation.
"""

OTHERS = """
## What others report

ASR / ACC in percent on CIFAR-10. They use other splits, other recipes and partly other models, so the figures say what
to expect, not what to reach.
"""


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The whole page in Markdown."""
    if not results:
        return HEAD + "\nNothing has been kept yet.\n"
    columns = [name for name in LABELS if any(_find(result, name) for result in results)]
    lines = [HEAD, _head("study", "label", "clean data", *(LABELS[name] for name in columns))]
    lines += [_line(*_who(result), *(_scores(_find(result, name)) for name in columns)) for result in results]
    rivals = [name for name in RIVALS if name in columns]
    lines += [WHAT_BEATS, _head("study", "recommended", *(LABELS[name] for name in rivals), "its twin")]
    lines += [_beats(result, rivals) for result in results]
    if published := list(_published(results)):
        lines += [OTHERS, _head("attack", "source", "victim", "fine-tuning", "NAD"), *published]
    lines += ["\n## How each was run\n"]
    lines += list(_commands(results))
    return "\n".join(lines) + "\n"


def verdict(ours: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """In what the first mean scores are better than the second."""
    asr, acc = ours["asr"] < other["asr"], ours["acc"] > other["acc"]
    return "both" if asr and acc else "ASR" if asr else "ACC" if acc else "neither"


def _beats(result: Mapping[str, Any], rivals: Sequence[str]) -> str:
    best = _find(result, "recommended")
    if best is None or best["test"]["asr"] is None:
        return _line(result["study"], "none" if best is None else "diverged", *(NONE for _ in rivals), NONE)
    found = [(_find(result, name) or {}).get("test") for name in rivals] + [best["twin"]]
    settings = ", ".join(f"{name} {value}" for name, value in readable_params(best["params"]).items())
    verdicts = (NONE if test is None or test["asr"] is None else verdict(best["test"], test) for test in found)
    return _line(result["study"], settings, *verdicts)


def _published(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    def text(pair: tuple[float, float]) -> str:
        return f"{pair[0]:.2f} / {pair[1]:.2f}"

    on_cifar10 = {result["attack"] for result in results if result["dataset"] == "cifar10"}
    for attack in sorted(on_cifar10 & set(PUBLISHED)):
        each: Published
        for each in PUBLISHED[attack]:
            yield _line(attack, each.source, text(each.victim), text(each.fine_tuning), text(each.nad))


def _commands(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for result in results:
        seconds, versions = result["seconds"]["total"], result["versions"]
        yield (
            f"- **{result['study']}**, {result['model']}: {result['trials']} trials in {result['precision']},"
            f" {seconds / 60:.0f} minutes in all, with torch {versions['torch']}, Ray {versions['ray']} and Optuna"
            f" {versions['optuna']}. {result['recommended_why']}\n\n  ```console\n  $ {result['command']}\n  ```\n"
        )


def _who(result: Mapping[str, Any]) -> tuple[str, str, str]:
    return result["study"], result["attack_settings"]["label_mode"], percent(_share(result), 0)


def _share(result: Mapping[str, Any]) -> float:
    """The clean fraction that a result is shown at: the recommended setting's, else the largest."""
    by_name = {row["name"]: row["params"].get("clean_fraction", 0.0) for row in result["rows"]}
    return float(by_name["recommended"] if "recommended" in by_name else max(by_name.values()))


def _find(result: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The row of this name with that share of clean data; the victim owns none."""
    shares = (None, _share(result))
    rows = (row for row in result["rows"] if row["params"].get("clean_fraction") in shares)
    return next((row for row in rows if row["name"] == name), None)


def _scores(row: Mapping[str, Any] | None) -> str:
    test = None if row is None else row["test"]
    if test is None or test["asr"] is None:
        return NONE
    runs = [run["asr"] for run in test["runs"]]
    spread = f" ({100 * min(runs):.0f} to {100 * max(runs):.0f}, {len(runs)} runs)" if len(runs) > 1 else ""
    return f"{percent(test['asr'])}{spread} / {percent(test['acc'])}"


def _head(*names: str) -> str:
    return _line(*names) + "\n" + _line(*("---" for _ in names))


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"

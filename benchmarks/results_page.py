"""The table of docs/results.md, and docs/results-appendix.md with every other table and command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.published import PUBLISHED, Published
from benchmarks.results_confirmed import confirmed, overview
from benchmarks.results_searched import searched
from benchmarks.results_tables import head, line, shares

MARKS = ("<!-- made by python -m benchmarks.results -->", "<!-- end -->")
"""Lines of docs/results.md around the table."""

HEAD = """# Results: every table and command

Made from the files in `results/` by `python -m benchmarks.results`. [The results](results.md) in short are on a page of
their own. A slow test measures one victim and its controls again.

| in the tables | meaning |
| --- | --- |
| 2.1% (2 to 3, 2 runs) / 74.9% | mean ASR, its range over the runs, mean ACC; on test images unless noted otherwise |
| runs | fresh seeds and fresh draws of the defender's clean images; the victim is a single run |
| code | the released code's recipe: 20 epochs, Cutout of 3 pixels |
| paper | the paper's recipe: 10 epochs, Cutout of 9, learning rate divided by 10 after every second epoch |
| fine-pruning, `MCR` | fine-tune by the paper's recipe; MCR is mode connectivity repair |
| clean model | the victim's recipe on images without the trigger; its ASR is that of no backdoor |
| *diverged* | no scores: the loss was no longer finite |
| – | not measured |

The first searches vary all of the default space but the clean fraction, fixed at the paper's 5%. Each further share
multiplies the controls and the baselines. [Searches over all shares](#over-all-shares-of-clean-data) follow. The
allowed loss of accuracy leaves something to recommend: 3 points, the default, on GTSRB, 5 on `fashion-m` (space
`nad-steps`), and 7 on CIFAR-10, about the loss of fine-tuning itself.
"""

OTHERS = """
## What others report

ASR / ACC in percent on CIFAR-10. Splits, recipes and some models differ: expect figures of this size, not these.
"""


def appendix(kept: Sequence[Mapping[str, Any]]) -> str:
    """The appendix in Markdown."""
    if not kept:
        return HEAD + "\nNothing has been kept yet.\n"
    fixed = of_one_share(kept)
    lines = [HEAD, *confirmed(fixed), *searched([each for each in kept if each not in fixed], fixed)]
    if published := list(_published(kept)):
        lines += [OTHERS, head("attack", "source", "victim", "fine-tuning", "NAD"), *published]
    lines += ["\n## How each was run\n"]
    lines += list(_commands(kept))
    return "\n".join(lines) + "\n"


def with_overview(text: str, kept: Sequence[Mapping[str, Any]]) -> str:
    """Put the current table between the marks of a page."""
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return "\n".join([before + MARKS[0], "", *overview(of_one_share(kept)), "", MARKS[1] + after])


def of_one_share(kept: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Confirmed studies of a single clean fraction."""
    return [each for each in kept if is_confirmed(each) and len(shares(each)) == 1]


def is_confirmed(result: Mapping[str, Any]) -> bool:
    """Whether every row has test scores."""
    return all(row["test"] is not None for row in result["rows"])


def _published(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    def text(pair: tuple[float, float]) -> str:
        return f"{pair[0]:.2f} / {pair[1]:.2f}"

    on_cifar10 = {result["attack"] for result in results if result["dataset"] == "cifar10"}
    for attack in sorted(on_cifar10 & set(PUBLISHED)):
        each: Published
        for each in PUBLISHED[attack]:
            yield line(attack, each.source, text(each.victim), text(each.fine_tuning), text(each.nad))


def _commands(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for result in results:
        versions = result["versions"]
        spent = ", ".join(
            f"{stage} {seconds / 60:.0f}" for stage, seconds in result["seconds"].items() if stage != "total"
        )
        yield (
            f"- **{result['study']}**, {result['model']}: {result['trials']} trials in {result['precision']},"
            f" in minutes: {spent}; with torch {versions['torch']}, Ray {versions['ray']} and Optuna"
            f" {versions['optuna']}. {result['recommended_why']}\n\n  ```text\n  {result['command']}\n  ```\n"
        )

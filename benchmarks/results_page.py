"""docs/results.md, made of the results and of what others have published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.published import PUBLISHED, Published
from benchmarks.results_confirmed import confirmed
from benchmarks.results_searched import searched
from benchmarks.results_tables import head, line, shares

HEAD = """# Results

This page is made from the files in `results/` by `python -m benchmarks.results`; a slow test measures one victim and
its controls again. Figures are ASR / ACC on the test images, which nothing was tuned on, unless it says otherwise:
means over fresh seeds and fresh draws of the defender's clean images, of the victim a single run. In brackets: the
lowest and the highest ASR of these runs, and how many there were. *code* and *paper* are the two published recipes: 20
epochs with a Cutout of 3 pixels as in the released code, and 10 epochs with a Cutout of 9 and a learning rate that
falls every second epoch. Fine-pruning and `MCR`, mode connectivity repair, fine-tune by the paper's. The clean model is
trained by the victim's recipe on images without the trigger: its ASR is where a backdoor is gone. It is trained where
there is a setting to recommend. *diverged*: there are no scores, for the loss was no longer finite. A dash: not
measured.

The first searches are of the default space but for one of its dimensions: the defender owns 5% of the training images,
as in the paper, since each further share multiplies the controls and the other defences; [searches over all
shares](#over-all-shares-of-clean-data) follow. How much accuracy a setting may lose was set so that there is something
to recommend: 3 points, the default, on GTSRB, 5 on `fashion-m` (whose space is `nad-steps`), and on CIFAR-10 7, about
what fine-tuning itself loses there.
"""

OTHERS = """
## What others report

ASR / ACC in percent on CIFAR-10. They use other splits, other recipes and partly other models, so the figures say what
to expect, not what to reach.
"""


def page(kept: Sequence[Mapping[str, Any]]) -> str:
    """The whole page in Markdown."""
    if not kept:
        return HEAD + "\nNothing has been kept yet.\n"
    of_one_share = [each for each in kept if is_confirmed(each) and len(shares(each)) == 1]
    over_shares = [each for each in kept if each not in of_one_share]
    lines = [HEAD, *confirmed(of_one_share), *searched(over_shares, of_one_share)]
    if published := list(_published(kept)):
        lines += [OTHERS, head("attack", "source", "victim", "fine-tuning", "NAD"), *published]
    lines += ["\n## How each was run\n"]
    lines += list(_commands(kept))
    return "\n".join(lines) + "\n"


def is_confirmed(result: Mapping[str, Any]) -> bool:
    """Whether it has test scores, rather than those of the search alone."""
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
            f" {versions['optuna']}. {result['recommended_why']}\n\n  ```console\n  $ {result['command']}\n  ```\n"
        )

"""Common columns and cells of the results' tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.formatting import NONE, percent, readable_params
from reports.study_folder import NO_DEFENCE

PAPER, CODE, TUNED, PRUNED = "nad-paper", "nad-code", "fine-tuning", "fine-pruning"
TUNED_AS_PAPER = "fine-tuning-paper"
"""No row of its own: the twin of NAD at the paper's settings."""
LABELS = {
    NO_DEFENCE: "victim",
    TUNED: "fine-tuning, code",
    TUNED_AS_PAPER: "fine-tuning, paper",
    PRUNED: "fine-pruning",
    "mode-connectivity": "MCR",
    "anp": "ANP",
    PAPER: "NAD, paper",
    CODE: "NAD, code",
}
"""Of the columns, in their order; a row of another name follows under its own."""
RECOMMENDED = "recommended"
BEYOND = "beyond_fine_tuning"
"""Key of a result: how many trials beat fine-tuning with as much clean data in both scores."""
DIVERGED = "*diverged*"
TITLES = {
    "badnets": "BadNets",
    "blend": "Blend",
    "cl": "CL",
    "refool": "Refool",
    "sig": "SIG",
    "trojan": "Trojan",
    "cifar10": "CIFAR-10",
    "gtsrb": "GTSRB",
}


def title(result: Mapping[str, Any]) -> str:
    """Attack and data set as people write them."""
    return ", ".join(TITLES.get(result[key], result[key]) for key in ("attack", "dataset"))


def shares(result: Mapping[str, Any]) -> list[float]:
    """Clean fractions of a study's rows, ascending; the victim has none."""
    return sorted({row["params"]["clean_fraction"] for row in result["rows"] if "clean_fraction" in row["params"]})


def settings(row: Mapping[str, Any]) -> str:
    """Of a row, in words."""
    return ", ".join(f"{name} {value}" for name, value in readable_params(row["params"]).items())


def means(test: Mapping[str, Any] | None) -> str:
    """Mean ASR / ACC of a row on test images."""
    if test is None:
        return NONE
    return DIVERGED if test["asr"] is None else f"{percent(test['asr'])} / {percent(test['acc'])}"


def test_scores(test: Mapping[str, Any] | None) -> str:
    """Mean ASR / ACC of a row on test images, with the range and number of its runs."""
    if test is None or test["asr"] is None:
        return means(test)
    runs = [run["asr"] for run in test["runs"]]
    lost = f", {test['diverged']} more diverged" if test["diverged"] else ""
    spread = (
        f" ({100 * min(runs):.0f} to {100 * max(runs):.0f}, {len(runs)} runs{lost})" if len(runs) > 1 or lost else ""
    )
    return f"{percent(test['asr'])}{spread} / {percent(test['acc'])}"


def head(*names: str) -> str:
    """The first two lines of a table."""
    return line(*names) + "\n" + line(*("---" for _ in names))


def line(*cells: str) -> str:
    """One row of a table."""
    return "| " + " | ".join(cells) + " |"

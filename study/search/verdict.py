"""Reading a trial's reports: its last one decides between COMPLETE, PRUNED and FAIL."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from optuna.trial import TrialState


def is_last(result: Mapping[str, Any]) -> bool:
    """True for a final, pruned or error report."""
    return any(result.get(mark) for mark in ("final", "pruned", "error"))


def verdict(last: Mapping[str, Any], metrics: Iterable[str], error: str = "") -> tuple[TrialState, str]:
    """The final state of a trial, and why it failed or was pruned (else empty).

    last: its final, pruned or error report, or empty.  error: the engine's reason.
    """
    if last.get("error"):
        return TrialState.FAIL, str(last["error"])
    if last.get("pruned"):
        return TrialState.PRUNED, last["pruned"] if isinstance(last["pruned"], str) else ""
    if not last.get("final"):
        return TrialState.FAIL, error or "the trial returned without a final report"
    missing = [metric for metric in metrics if metric not in last]
    if missing:
        return TrialState.FAIL, f"the final report has no {', '.join(missing)}"
    broken = [f"{metric} = {last[metric]}" for metric in metrics if not _is_finite(last[metric])]
    if broken:
        return TrialState.FAIL, f"the final report is not finite: {', '.join(broken)}"
    return TrialState.COMPLETE, ""


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in a report."""
    return {name: storable(value) for name, value in result.items() if isinstance(value, int | float | np.number)}


def storable(value: Any) -> Any:
    """Numpy's numbers as Python's, for JSON."""
    return value.item() if isinstance(value, np.number) else value

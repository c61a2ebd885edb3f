"""Paired differences between two settings, over their common draws of clean images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple, Protocol

from reports.analysis.intervals import Interval, of_difference


class Scored(Protocol):
    """A run with a draw and its scores."""

    @property
    def draw(self) -> int: ...
    @property
    def asr(self) -> float: ...
    @property
    def acc(self) -> float: ...


class Added(NamedTuple):
    """Mean paired difference in a score, and its 95% interval; None for too few pairs or identical ones."""

    mean: float
    bounds: Interval | None

    @property
    def direction(self) -> int:
        """-1 or 1 if the interval excludes zero, else 0."""
        if self.bounds is None or self.bounds[0] <= 0 <= self.bounds[1]:
            return 0
        return 1 if self.mean > 0 else -1


class Comparison(NamedTuple):
    """asr, acc: differences, first minus second.  pairs: number of common draws."""

    asr: Added
    acc: Added
    pairs: int

    @classmethod
    def of(cls, differences: Sequence[tuple[float, float]]) -> Comparison:
        """differences: one or more, in ASR and in ACC."""
        asr, acc = (Added(fmean(values), of_difference(values)) for values in zip(*differences, strict=True))
        return cls(asr, acc, len(differences))


def compare(ours: Iterable[Scored], theirs: Iterable[Scored]) -> Comparison | None:
    """Our runs against theirs; None without a common draw."""
    others = {run.draw: run for run in theirs}
    pairs = [(mine, others[mine.draw]) for mine in ours if mine.draw in others]
    differences = [(mine.asr - its.asr, mine.acc - its.acc) for mine, its in pairs]
    return Comparison.of(differences) if differences else None

"""Events of trials, for the observers of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

EventKind = Literal["started", "progress", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class TrialEvent:
    """News of a trial; scores: reported ones, a complete trial's metrics, or empty."""

    kind: EventKind
    number: int
    params: Mapping[str, Any]
    scores: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """The trial's other recorded attributes, such as its seed; complete at its end."""

    @property
    def reason(self) -> str:
        """Why it failed or was pruned, in a line; empty for others."""
        return str(self.error or self.attrs.get("error", "")).partition("\n")[0]

"""One hyperparameter's values over the trials of a study."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reports.analysis.frontier import Mask
from reports.analysis.objectives import Floats


class Hyperparameter(NamedTuple):
    """values: one per trial; None where the trial has none, such as the beta of a layer that it does not distil."""

    name: str
    label: str
    values: tuple[float | str | None, ...]

    @property
    def numeric(self) -> bool:
        return not any(isinstance(value, str) for value in self.values)

    @property
    def absent(self) -> Mask:
        """Which trials have no value.  Returns (n,)."""
        return np.array([value is None for value in self.values], dtype=bool)

    @property
    def numbers(self) -> Floats:
        """The values of a numeric one, NaN where there is none.  Returns (n,)."""
        return np.array([np.nan if value is None else value for value in self.values], dtype=float)

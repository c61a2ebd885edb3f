"""One hyperparameter's values over the trials of a study."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reports.analysis.frontier import Mask
from reports.analysis.objectives import Floats


class Hyperparameter(NamedTuple):
    """values: one per trial; None if it has none, such as the beta of an undistilled layer."""

    name: str
    label: str
    values: tuple[float | str | None, ...]

    @property
    def numeric(self) -> bool:
        return not any(isinstance(value, str) for value in self.values)

    @property
    def absent(self) -> Mask:
        """Mask of trials without a value.  Returns (n,)."""
        return np.array([value is None for value in self.values], dtype=bool)

    @property
    def numbers(self) -> Floats:
        """Values of a numeric one, NaN for none.  Returns (n,)."""
        return np.array([np.nan if value is None else value for value in self.values], dtype=float)

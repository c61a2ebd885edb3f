"""How sure it is that a setting is the best of those tried. A pure function."""

from __future__ import annotations

import numpy as np
from scipy import integrate, stats

from reports.analysis.objectives import Floats

POINTS = 4001
"""Of the quadrature; it errs by less than 1e-3."""
REACH = 8.0
"""Standard errors to either side of a mean that the quadrature covers."""


def probability_of_lowest(mean: Floats, error: Floats, index: int) -> float:
    """Probability that this setting's mean is the lowest, for independent normal errors.

    Errors have the draws' common effect in them. Settings that met the same draws share it, so the order is a little
    surer than this.
    mean, error: (n,); errors above 0.
    """
    low, high = mean[index] - REACH * error[index], mean[index] + REACH * error[index]
    places = np.linspace(low, high, POINTS)
    others = np.arange(len(mean)) != index
    above = stats.norm.sf(places[:, None], mean[others], error[others]).prod(axis=1)
    density = stats.norm.pdf(places, mean[index], error[index]) * above
    return float(np.clip(integrate.simpson(density, x=places), 0, 1))

"""The page's figures, each in two steps: what it shows (info: plain data, tested), then the drawing (Plotly).

Figures are drawn in the light theme's colours; the page swaps those for the dark theme's. Scores become percents here.
"""

from __future__ import annotations

from collections.abc import Callable

from reports.figures.attainment import attainment_exhibit
from reports.figures.confirmation import confirmation_exhibit
from reports.figures.curves import curves_exhibit
from reports.figures.fractions import fractions_exhibit
from reports.figures.frontier import frontier_exhibit
from reports.figures.hypervolume import hypervolume_exhibit
from reports.figures.importances import importances_exhibit
from reports.figures.landscape import landscape_exhibit
from reports.figures.parallel import parallel_exhibit
from reports.figures.section import Exhibit
from reports.figures.slices import slices_exhibit
from reports.figures.timeline import timeline_exhibit
from reports.study_folder import Study

__all__ = ["EXHIBITS", "Exhibit", "exhibits"]

EXHIBITS: tuple[Callable[[Study], Exhibit], ...] = (
    frontier_exhibit,
    confirmation_exhibit,
    attainment_exhibit,
    fractions_exhibit,
    importances_exhibit,
    slices_exhibit,
    landscape_exhibit,
    parallel_exhibit,
    hypervolume_exhibit,
    curves_exhibit,
    timeline_exhibit,
)
"""In the page's order."""


def exhibits(study: Study) -> dict[str, Exhibit]:
    """Every figure of the page by its name; one with too little data has no panels."""
    made = (exhibit(study) for exhibit in EXHIBITS)
    return {exhibit.name: exhibit for exhibit in made}

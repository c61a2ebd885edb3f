"""The page's figures, each in two steps: info (plain data, tested), then drawing (Plotly).

Figures are drawn in the light theme's colours; the page swaps those for the dark theme's. Scores become percents here.
"""

from __future__ import annotations

from collections.abc import Callable

from reports.figures.attainment import attainment_section
from reports.figures.confirmation import confirmation_section
from reports.figures.curves import curves_section
from reports.figures.draws import draws_section
from reports.figures.fractions import fractions_section
from reports.figures.frontier import frontier_section
from reports.figures.hypervolume import hypervolume_section
from reports.figures.importances import importances_section
from reports.figures.landscape import landscape_section
from reports.figures.parallel import parallel_section
from reports.figures.section import FigureSection
from reports.figures.slices import slices_section
from reports.figures.timeline import timeline_section
from reports.study_folder import Study

__all__ = ["SECTIONS", "FigureSection", "figure_sections"]

SECTIONS: tuple[Callable[[Study], FigureSection], ...] = (
    frontier_section,
    confirmation_section,
    attainment_section,
    fractions_section,
    draws_section,
    importances_section,
    slices_section,
    landscape_section,
    parallel_section,
    hypervolume_section,
    curves_section,
    timeline_section,
)
"""In the page's order."""


def figure_sections(study: Study) -> dict[str, FigureSection]:
    """Every figure of the page by its name; one with too little data has no panels."""
    made = (section(study) for section in SECTIONS)
    return {section.name: section for section in made}

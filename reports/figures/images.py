"""PNG and SVG files of a page's figures, drawn by a Chromium: the optional extra `images`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from reports.figures.palette import LIGHT
from reports.files import ReportError, write_bytes

FORMATS = ("png", "svg")
SIZE = {"width": 960, "height": 560}
SCALE = 2.0
"""Pixels of a PNG for each of the figure's, for sharp print."""
PATIENCE = 120.0
"""Seconds for the browser to start, and again for each image."""
NOWHERE = "http://127.0.0.1:9"
"""The browser's way to the network: nothing listens there. It needs none, and must not ask for any."""

Images = dict[tuple[str, str], bytes]


def write_images(figures: Mapping[str, go.Figure], formats: Sequence[str], folder: Path) -> list[Path]:
    """Draw each figure in each format and return the files, folder/<figure>.<format>.

    Raises: ReportError without the extra, without a browser, or without permission to write.
    """
    images = draw(figures, formats)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ReportError(f"the folder {str(folder)!r} cannot be made: {error.strerror}; choose another") from error
    paths = {folder / f"{name}.{kind}": image for (name, kind), image in images.items()}
    for path, image in paths.items():
        write_bytes(path, image)
    return list(paths)


def draw(figures: Mapping[str, go.Figure], formats: Sequence[str]) -> Images:
    """The files' contents by figure and format, on the light theme's paper.

    Raises: ReportError without the extra, or without a working browser.
    """
    try:
        from kaleido import Kaleido
        from kaleido.errors import ChromeNotFoundError, JavascriptError, KaleidoError
    except ImportError as error:
        raise ReportError("images need the package kaleido; run: pip install 'nad-study[images]'") from error

    async def drawn() -> Images:
        # Kaleido would fetch MathJax from the network; no figure here has a formula.
        async with Kaleido(mathjax=False, proxy_server=NOWHERE) as browser:
            return {
                (name, kind): await browser.calc_fig(_on_paper(figure), {"format": kind, "scale": _scale(kind), **SIZE})
                for name, figure in figures.items()
                for kind in formats
            }

    try:
        return asyncio.run(asyncio.wait_for(drawn(), PATIENCE * (1 + len(figures) * len(formats))))
    except ChromeNotFoundError as error:
        raise ReportError(
            "images need Chromium or Chrome, and none was found; install one (on Debian: apt install chromium),"
            " or name it in the environment variable BROWSER_PATH"
        ) from error
    except TimeoutError as error:
        raise ReportError(
            "the browser did not draw the images in time; try again when the machine is less busy, or name another"
            " browser in the environment variable BROWSER_PATH"
        ) from error
    except (JavascriptError, KaleidoError, RuntimeError, OSError) as error:
        reason = str(error.args[0]).strip(". \n") if error.args else type(error).__name__
        raise ReportError(
            f"the browser did not draw the images ({reason}); name another in the environment variable BROWSER_PATH"
        ) from error


def _on_paper(figure: go.Figure) -> go.Figure:
    """The figure as a file has it: the page's paper, and a margin, since nothing stands around it."""
    return go.Figure(figure).update_layout(paper_bgcolor=LIGHT.paper, margin={"l": 24, "r": 24, "t": 24, "b": 24})


def _scale(kind: str) -> float:
    return SCALE if kind == "png" else 1.0

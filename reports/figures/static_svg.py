"""A still picture of a figure: what the page shows until Plotly has drawn it, and to readers without JavaScript.

It is read from the figure itself, and laid out (still.html, page.css) as Plotly does it, so that little moves when
Plotly takes over. Within the plot, places are percents of its width and height, so that the picture is as wide as the
page is and its text is never stretched; symbols, and the names' distance from them, are in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from reports.analysis.objectives import Floats
from reports.figures.drawing import plain
from reports.figures.labels import CHARACTER_WIDTH, LINE_HEIGHT
from reports.figures.palette import css_colour

OUTLINES = {
    "circle": "M1 0A1 1 0 1 1 0-1A1 1 0 0 1 1 0Z",
    "circle-x": "M1 0A1 1 0 1 1 0-1A1 1 0 0 1 1 0ZM-.707-.707L.707.707M.707-.707L-.707.707",
    "square": "M1 1H-1V-1H1Z",
    "diamond": "M1.3 0L0 1.3-1.3 0 0-1.3Z",
    "triangle-up": "M-1.155.5H1.155L0-1Z",
    "triangle-down": "M-1.155-.5H1.155L0 1Z",
    "triangle-right": "M-.5-1.155V1.155L1 0Z",
    "pentagon": "M.951-.309L.588.809H-.588L-.951-.309 0-1Z",
    "hexagram": "M-.76 0l-.38-.66h.76l.38-.66.38.66h.76l-.38.66.38.66h-.76l-.38.66-.38-.66h-.76l.38-.66Z",
    "star": "M.315-.433H1.331L.508.165.823 1.133 0 .535-.823 1.133-.508.165-1.331-.433H-.315L0-1.4Z",
    "x-thin": "M-1-1L1 1M1-1L-1 1",
}
"""Plotly's symbols, by its names, around the origin for a size of two."""
DASHES = {"dash": "9 9", "dot": "3 3"}
LEGEND_SIZE, LEGEND_WIDTH, LEGEND_LINE = 12.0, 2.0, 5.0
"""What Plotly makes of a symbol's size, its outline and a line's width in a legend of constant sizes."""
MOST_TICKS = 10
TEXT_GAP = 2.0


class Shape(NamedTuple):
    """Something drawn in one colour.

    path: in percents of the plot; or, where `at` has the percents from its left and top, in units of `scale` pixels
    around that, and never clipped.  width: of the stroke, in pixels; 0 for a filled shape.  dots: each point of
    the path is a circle as wide as that.
    """

    path: str
    colour: str
    width: float
    dash: str = ""
    dots: bool = False
    clipped: bool = True
    at: tuple[str, str] | None = None
    scale: float = 1.0


class Tick(NamedTuple):
    """at: percents from the left, or from the top."""

    at: str
    text: str


class Name(NamedTuple):
    """A text in the plot.

    at: percents from the left and the top of what it names; right, down: from there in pixels; leader: path of the
    line that joins the two.
    """

    text: str
    colour: str
    at: tuple[str, str]
    right: float
    down: float
    anchor: str
    size: float
    bold: bool = False
    leader: str = ""


class Entry(NamedTuple):
    """A line of the legend.  only_narrow: it stands there where its name has no room beside the mark."""

    text: str
    shape: Shape
    only_narrow: bool


class Still(NamedTuple):
    """shapes: in the order of drawing."""

    titles: tuple[str, str]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    grid: str
    shapes: tuple[Shape, ...]
    names: tuple[Name, ...]
    legend_title: str
    legend: tuple[Entry, ...]


class _Plot(NamedTuple):
    """The ends of the axes."""

    left: float
    right: float
    bottom: float
    top: float

    def across(self, x: Any) -> Floats:
        """Percents from the left."""
        return 100 * (np.asarray(x, dtype=float) - self.left) / (self.right - self.left)

    def down(self, y: Any) -> Floats:
        """Percents from the top."""
        return 100 * (self.top - np.asarray(y, dtype=float)) / (self.top - self.bottom)

    def at(self, x: float, y: float) -> tuple[str, str]:
        return _short(self.across(x)), _short(self.down(y))


def still(figure: go.Figure) -> Still:
    """The picture of a figure of points and lines whose axes have ranges."""
    layout = figure.layout
    plot = _Plot(*layout.xaxis.range, *layout.yaxis.range)
    x_ticks = _ticks(layout.xaxis, plot.across)
    y_ticks = _ticks(layout.yaxis, plot.down)
    grid = "".join([f"M{tick.at} 0V100" for tick in x_ticks] + [f"M0 {tick.at}H100" for tick in y_ticks])
    traces = [trace for trace in figure.data if len(trace.x)]
    return Still(
        titles=(layout.xaxis.title.text, layout.yaxis.title.text),
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        grid=grid,
        shapes=(*_lines_across(figure, plot), *(shape for trace in traces for shape in _shapes(trace, plot))),
        names=tuple(_name(note, plot, layout.font.size) for note in layout.annotations),
        legend_title=layout.legend.title.text,
        legend=tuple(_legend(traces)),
    )


def _short(percent: Any) -> str:
    """A percent of the plot, to a tenth of a pixel or so: '12.5'."""
    return f"{float(percent):.2f}".rstrip("0").rstrip(".")


def _inside(across: float, down: float) -> bool:
    return 0 <= across <= 100 and 0 <= down <= 100


def _ticks(axis: Any, place: Any) -> tuple[Tick, ...]:
    low, high = axis.range
    step = axis.dtick or _step((high - low) / MOST_TICKS)
    values = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return tuple(Tick(_short(place(value)), f"{round(value, 9):g}{axis.ticksuffix or ''}") for value in values)


def _step(least: float) -> float:
    """The next larger one of 2, 5, 10 times a power of ten, as Plotly chooses it."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (2, 5, 10) if least <= factor * power * (1 + 1e-9))


def _lines_across(figure: go.Figure, plot: _Plot) -> Iterator[Shape]:
    for line in figure.layout.shapes:
        dash = DASHES.get(line.line.dash, "")
        yield Shape(f"M0 {_short(plot.down(line.y0))}H100", css_colour(line.line.color), line.line.width, dash)


def _shapes(trace: Any, plot: _Plot) -> Iterator[Shape]:
    if trace.mode == "lines":
        path = _joined(plot.across(trace.x), plot.down(trace.y))
        yield Shape(path, css_colour(trace.line.color), trace.line.width, DASHES.get(trace.line.dash, ""))
    else:
        yield from _error_bars(trace, plot)
        yield from _points(trace, plot)


def _joined(across: Floats, down: Floats) -> str:
    """A path through points.  across, down: (n,) percents; NaN where the line breaks."""
    path, pen = [], "M"
    for x, y in zip(across, down, strict=True):
        if math.isnan(x):
            pen = "M"
        else:
            path.append(f"{pen}{_short(x)} {_short(y)}")
            pen = "L"
    return "".join(path)


def _points(trace: Any, plot: _Plot) -> Iterator[Shape]:
    """Filled circles as one path, since there may be thousands; each other symbol by itself."""
    marker, clipped = trace.marker, trace.cliponaxis is not False
    symbols = np.broadcast_to(np.array(marker.symbol), len(trace.x))
    across, down = plot.across(trace.x), plot.down(trace.y)
    dots = symbols == "circle"
    if dots.any():
        path = "".join(f"M{_short(x)} {_short(y)}h0" for x, y in zip(across[dots], down[dots], strict=True))
        yield Shape(path, css_colour(marker.color), marker.size, dots=True, clipped=clipped)
    for x, y, symbol in zip(across[~dots], down[~dots], symbols[~dots], strict=True):
        if not clipped or _inside(x, y):
            yield _symbol(marker, str(symbol), marker.size, marker.line.width)._replace(at=(_short(x), _short(y)))


def _symbol(marker: Any, symbol: str, size: float, width: float) -> Shape:
    """Around the origin."""
    stroked = symbol.endswith(("-open", "-thin"))
    colour = marker.line.color if symbol.endswith("-thin") else marker.color
    outline = OUTLINES[symbol.removesuffix("-open")]
    return Shape(outline, css_colour(colour), width if stroked else 0.0, at=("0", "0"), scale=size / 2)


def _error_bars(trace: Any, plot: _Plot) -> Iterator[Shape]:
    """Each bar, and the caps at its ends."""
    for bars, flat in ((trace.error_x, True), (trace.error_y, False)):
        for x, y, more, less in zip(trace.x, trace.y, bars.array or (), bars.arrayminus or (), strict=False):
            ends = np.array([[x - less, y], [x + more, y]] if flat else [[x, y - less], [x, y + more]])
            across, down = plot.across(ends[:, 0]), plot.down(ends[:, 1])
            colour = css_colour(bars.color)
            yield Shape(_joined(across, down), colour, bars.thickness)
            cap = f"M0-{bars.width}V{bars.width}" if flat else f"M-{bars.width} 0H{bars.width}"
            for end in zip(across, down, strict=True):
                if _inside(*end):
                    yield Shape(cap, colour, bars.thickness, at=(_short(end[0]), _short(end[1])))


def _name(note: Any, plot: _Plot, usual_size: float) -> Name:
    text, bold, colour = plain(note.text), note.text.startswith("<b>"), css_colour(note.font.color)
    size = note.font.size or usual_size
    if note.showarrow is False:
        left = note.xanchor == "left"
        down = (LINE_HEIGHT - 1) / 2 * (1 if note.yanchor == "top" else -1)
        at = ("0" if left else "100", _short(plot.down(note.y)))
        return Name(text, colour, at, TEXT_GAP if left else -TEXT_GAP, down, "start" if left else "end", size)
    leader = _leader(note.ax, note.ay, CHARACTER_WIDTH * len(text) / 2, LINE_HEIGHT / 2, note.standoff)
    return Name(text, colour, plot.at(note.x, note.y), note.ax, note.ay, "middle", size, bold, leader)


def _leader(right: float, down: float, half_width: float, half_height: float, standoff: float) -> str:
    """Path from the edge of a text's box, whose centre is right and down of the origin, to near the origin."""
    distance = math.hypot(right, down)
    inside = min(half_width / abs(right) if right else 1.0, half_height / abs(down) if down else 1.0)
    start, end = 1 - inside, standoff / distance
    if start <= end:
        return ""
    return f"M{start * right:.1f} {start * down:.1f}L{end * right:.1f} {end * down:.1f}"


def _legend(traces: list[Any]) -> Iterator[Entry]:
    """The page's script lists marks in the legend where there is no room for names, and so does this."""
    for trace in sorted(traces, key=lambda trace: trace.legendrank or 1000):
        if trace.showlegend is False and trace.meta != "mark":
            continue
        if trace.mode == "lines":
            shape = Shape("M-15 0H15", css_colour(trace.line.color), LEGEND_LINE)
        else:
            shape = _symbol(trace.marker, str(np.ravel(trace.marker.symbol)[0]), LEGEND_SIZE, LEGEND_WIDTH)
        yield Entry(plain(trace.name), shape, trace.meta == "mark")

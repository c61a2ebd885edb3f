"""The static picture of the frontier, and how Plotly takes its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opened_page import Make, Opened, serious_faults

from reports.build import build
from reports.figures.palette import DARK, LIGHT

HOLD_PLOTLY = "Object.defineProperty(window, 'Plotly', { set() {}, get() { throw new Error('held back'); } });"
WATCH_SHIFTS = """globalThis.shifts = [];
new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value))).observe({
    type: 'layout-shift', buffered: true });"""


@pytest.fixture
def before_plotly(browser: Any, make_study: Make) -> Iterator[Callable[..., Any]]:
    """A function that opens a page which Plotly never draws, or whose scripts do not run at all."""
    contexts = []

    def open_static(change: Any = None, **context: Any) -> Any:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | context))
        page = contexts[-1].new_page()
        page.add_init_script(HOLD_PLOTLY)
        page.goto(build(make_study(name="held", change=change)).as_uri())
        return page

    yield open_static
    for context in contexts:
        context.close()


def test_without_javascript_there_is_a_static_picture(before_plotly: Callable[..., Any]) -> None:
    page = before_plotly(java_script_enabled=False)
    assert page.locator("#plot-frontier .static-legend").get_by_text("recommended").is_visible()
    assert "this figure is static" in page.locator("noscript").inner_text()
    assert page.locator("#plot-timeline").bounding_box()["height"] == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_plotly_takes_the_static_pictures_place(
    before_plotly: Callable[..., Any], opened: Callable[..., Opened], confirm: Any, width: int
) -> None:
    size = {"viewport": {"width": width, "height": 900}}
    page, view = before_plotly(confirm, **size), opened(confirm, **size)
    assert page.locator("#plot-frontier .main-svg").count() == 0
    assert view.page.locator(".static").count() == 0
    figure = "#figure-frontier"
    assert page.locator(figure).bounding_box() == view.page.locator(figure).bounding_box()
    static, plotly = (
        shown.locator(f"#plot-frontier {part}").first.bounding_box()
        for shown, part in ((page, ".static-plot > svg"), (view.page, ".nsewdrag"))
    )
    assert (static["x"], static["x"] + static["width"]) == pytest.approx(
        (plotly["x"], plotly["x"] + plotly["width"]), abs=4
    )
    for picture, axis in ((":not(.y)", "x"), (".y", "y")):
        ticks = page.locator(f".static .tick{picture}").all_text_contents()
        assert [tick for tick in ticks if tick.endswith("%") and " " not in tick] == view.texts(
            f"#plot-frontier .{axis}tick text"
        )


def test_nothing_moves_when_plotly_takes_over(browser: Any, make_study: Make) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 2000})
    page = context.new_page()
    page.add_init_script(WATCH_SHIFTS)
    page.goto(build(make_study()).as_uri())
    page.wait_for_selector("#plot-frontier .scatterlayer .point")
    page.wait_for_timeout(200)
    assert page.evaluate("shifts") == []
    context.close()


@pytest.mark.parametrize(("scheme", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_the_static_picture_has_the_themes_colours(
    before_plotly: Callable[..., Any], scheme: str, palette: Any
) -> None:
    page = before_plotly(color_scheme=scheme)
    colours = """['circle', '.tick', '.grid'].map((part) => getComputedStyle(document.querySelector('.static ' + part)))
        .map((style) => style.stroke === 'none' ? style.fill : style.stroke)"""
    expected = (palette.ramp[0], palette.muted, palette.line)
    assert page.evaluate(colours) == [
        f"rgb({', '.join(str(int(c[i : i + 2], 16)) for i in (1, 3, 5))})" for c in expected
    ]


def test_axe_finds_no_serious_fault_in_the_static_picture(before_plotly: Callable[..., Any], confirm: Any) -> None:
    assert serious_faults(before_plotly(confirm)) == []

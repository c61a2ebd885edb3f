"""The page in a real browser: opened from a file, with nothing to load from anywhere."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.build import build, main
from reports.figures import exhibits
from reports.figures.frontier import frontier_info
from reports.figures.parallel import parallel_info
from reports.palette import DARK, LIGHT
from reports.study_folder import read_study

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """A page of a report, and all that it complained about or asked for."""

    def __init__(self, browser: Any, report: Path, first: str = "frontier", **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error('policy', event.violatedDirective))"
        )
        self.page.goto(report.as_uri())
        self.page.wait_for_selector(f"#plot-{first} .scatterlayer .point")

    def assert_quiet(self) -> None:
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:"))] == []

    def after_change(self, expression: str, old: str) -> str:
        """What the expression has become; asked from outside, because the page's policy forbids to evaluate inside."""
        deadline = time.monotonic() + 10
        while (new := str(self.page.evaluate(expression))) == old and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)
        return new

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()


@pytest.fixture
def opened(browser: Any, make_study: Make) -> Iterator[Callable[..., Opened]]:
    pages = []

    def open_study(change: Any = None, **context: Any) -> Opened:
        pages.append(Opened(browser, build(make_study(change=change)), **context))
        return pages[-1]

    yield open_study
    for page in pages:
        page.context.close()


def test_the_page_draws_sorts_and_filters_without_a_complaint(opened: Callable[..., Opened], make_study: Make) -> None:
    view = opened()
    info = frontier_info(read_study(make_study(name="twin")))
    trials, marks = sum(len(group.numbers) for group in info.groups), 2 + len(info.controls)
    assert view.page.locator("#plot-frontier .scatterlayer .point").count() == trials + marks
    view.page.locator("#plot-hypervolume").scroll_into_view_if_needed()
    view.page.locator("#plot-hypervolume .scatterlayer .point").first.wait_for()
    assert view.page.locator("#plot-hypervolume .scatterlayer .point").count() == trials

    def column(index: int) -> list[str]:
        return view.texts(f".sortable tbody tr:not([hidden]) > :nth-child({index})")

    def percents(texts: list[str]) -> list[float]:
        return [float(text.rstrip("%")) for text in texts if text != "–"]

    head = view.page.locator(".sortable thead th").nth(2)
    for order, state in ((1, "ascending"), (-1, "descending")):
        head.locator("button").click()
        values = column(3)
        assert percents(values) == sorted(percents(values), reverse=order == -1)
        assert values[-2:] == ["–", "–"]
        assert head.get_attribute("aria-sort") == state
    view.page.locator(".sortable thead th").nth(1).locator("button").press("Enter")
    assert column(2) == sorted(column(2))
    view.page.locator(".sortable thead th").nth(0).locator("button").click()
    assert [int(text.strip("● ")) for text in column(1)] == list(range(24))

    view.page.get_by_role("button", name="failed").click()
    assert column(2) == ["failed", "failed"]
    assert len(view.texts(".filters [aria-pressed=true]")) == 1
    view.page.get_by_role("button", name="on the front").click()
    assert len(column(2)) == len(info.front)
    view.assert_quiet()


def test_figures_follow_the_theme_and_the_printer(opened: Callable[..., Opened]) -> None:
    view = opened(color_scheme="dark")
    colours = """['.scatterlayer .point', '.xtitle'].map(
        (part) => getComputedStyle(document.querySelector('#plot-frontier ' + part)).fill).join()"""
    dark = view.page.evaluate(colours)
    view.page.emulate_media(color_scheme="light")
    light = view.after_change(colours, dark)
    assert not set(dark.split("rgb")[1:]) & set(light.split("rgb")[1:])
    view.page.emulate_media(color_scheme="dark")
    assert view.after_change(colours, light) == dark
    view.page.emulate_media(color_scheme="dark", media="print")
    assert view.after_change(colours, dark) == light
    view.assert_quiet()


def test_a_phone_needs_no_sideways_scrolling_and_lists_the_marks(opened: Callable[..., Opened]) -> None:
    view = opened(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert view.page.evaluate("document.documentElement.scrollWidth") == 390
    assert "NAD (paper)" in view.texts("#plot-frontier .legendtext")
    assert view.page.locator("#plot-frontier .annotation").count() == 0
    view.assert_quiet()


def _scroll_through(view: Opened) -> list[str]:
    """Scrolls down the page until every figure is drawn; returns those that are not."""
    missing = """[...document.querySelectorAll('.plot')]
        .filter((plot) => !plot.querySelector('.main-svg')).map((plot) => plot.id)"""
    for _ in range(200):
        left: list[str] = view.page.evaluate(missing)
        if not left:
            break
        view.page.locator(f"#{left[0]}").scroll_into_view_if_needed()
        view.page.wait_for_timeout(20)
    return left


def test_every_figure_is_drawn_when_it_comes_near_and_gives_its_data(
    opened: Callable[..., Opened], make_study: Make, confirm: Any
) -> None:
    view = opened(confirm)
    shown = exhibits(read_study(make_study(name="twin", change=confirm)))
    assert view.page.locator("#plot-timeline .main-svg").count() == 0  # far below
    assert _scroll_through(view) == []
    for index, (name, one) in enumerate(shown.items()):
        if index == 8:
            view.page.reload()  # Chromium asks its user before a page's eleventh download
        with view.page.expect_download() as download:
            view.page.locator(f"button[data-table={name}]").click()
        assert download.value.suggested_filename == f"{name}.csv"
        with Path(download.value.path()).open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert rows[0] == list(one.data)
        assert len(rows) == 1 + len(next(iter(one.data.values())))
    view.assert_quiet()


def test_brushing_keeps_the_trials_that_cross_the_brush(opened: Callable[..., Opened], make_study: Make) -> None:
    view = opened()
    info = parallel_info(read_study(make_study(name="twin")))
    plot = view.page.locator("#plot-parallel")
    plot.scroll_into_view_if_needed()
    plot.locator(".scatterlayer .js-line").first.wait_for()
    status = "document.querySelector('.brush-status').textContent"
    axis = len(info.axes) - 2  # ASR
    view.page.get_by_label("Axis").select_option(str(axis))
    view.page.get_by_label("Keep").select_option("0 0.333")
    low = info.positions[:, axis] <= 0.333
    assert view.after_change(status, "") == f"{low.sum()} of {len(low)} trials kept by ASR"
    view.page.get_by_role("button", name="Show all").click()
    assert view.after_change(status, f"{low.sum()} of {len(low)} trials kept by ASR") == ""

    # By the mouse: over the upper half of the first axis.
    centre = "document.querySelector('#plot-parallel').scrollIntoView({ block: 'center', behavior: 'instant' })"
    view.page.evaluate(centre)
    lines = [line.bounding_box() for line in plot.locator(".shapelayer path").all()]
    left, top, height = lines[0]["x"], lines[0]["y"], lines[0]["height"]
    view.page.mouse.move(left - 12, top - 4)
    view.page.mouse.down()
    view.page.mouse.move(left + 12, top + height / 2, steps=4)
    view.page.mouse.up()
    kept = (info.positions[:, 0] >= 0.5).sum()
    assert view.after_change(status, "") == f"{kept} of {len(low)} trials kept by {info.axes[0].label}"
    view.assert_quiet()


def test_words_filter_the_table_together_with_the_buttons(opened: Callable[..., Opened]) -> None:
    view = opened()
    rows = view.page.locator(".sortable tbody tr:not([hidden])")
    view.page.get_by_role("searchbox").fill("20% code")
    found = rows.all_text_contents()  # not their inner texts: far from the screen nothing is laid out
    assert found
    assert all("20%" in row and "code" in row for row in found)
    assert view.texts(".found") == [f"{len(found)} trials"]
    view.page.get_by_role("button", name="failed").click()
    assert rows.count() <= 2
    view.page.get_by_role("searchbox").fill("")
    assert rows.count() == 2
    view.assert_quiet()


def test_all_figures_are_drawn_for_the_printer(opened: Callable[..., Opened]) -> None:
    view = opened()
    missing = "[...document.querySelectorAll('.plot')].filter((plot) => !plot.querySelector('.main-svg')).length"
    before = str(view.page.evaluate(missing))
    assert before != "0"
    view.page.emulate_media(media="print")
    while before != "0" and (now := view.after_change(missing, before)) != before:
        before = now
    assert before == "0"
    view.assert_quiet()


def test_axe_finds_no_serious_fault_in_either_theme(opened: Callable[..., Opened], confirm: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    view = opened(confirm)
    assert _scroll_through(view) == []
    for scheme in ("light", "dark"):
        view.page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(view.page).response["violations"]
        serious = [fault for fault in found if fault["impact"] in {"serious", "critical"}]
        assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in serious] == []


def test_figures_have_their_place_before_they_are_drawn(opened: Callable[..., Opened]) -> None:
    view = opened()
    tops = "[...document.querySelectorAll('section')].map((section) => section.offsetTop)"
    drawn = view.page.evaluate(tops)
    view.page.evaluate("document.querySelectorAll('.plot').forEach((plot) => plot.replaceChildren())")
    assert view.page.evaluate(tops) == drawn


HOLD_PLOTLY = "Object.defineProperty(window, 'Plotly', { set() {}, get() { throw new Error('held back'); } });"
WATCH_SHIFTS = """globalThis.shifts = [];
new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value))).observe({
    type: 'layout-shift', buffered: true });"""


@pytest.fixture
def before_plotly(browser: Any, make_study: Make) -> Iterator[Callable[..., Any]]:
    """A function that opens a page which Plotly never draws, or whose scripts do not run at all."""
    contexts = []

    def open_still(change: Any = None, **context: Any) -> Any:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | context))
        page = contexts[-1].new_page()
        page.add_init_script(HOLD_PLOTLY)
        page.goto(build(make_study(name="held", change=change)).as_uri())
        return page

    yield open_still
    for context in contexts:
        context.close()


def test_without_javascript_there_is_a_still_picture(before_plotly: Callable[..., Any]) -> None:
    page = before_plotly(java_script_enabled=False)
    assert page.locator("#plot-frontier .still").get_by_text("recommended", exact=True).last.is_visible()
    assert "a still picture" in page.locator("noscript").inner_text()
    assert page.locator("#plot-timeline").bounding_box()["height"] == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_plotly_takes_the_still_pictures_place(
    before_plotly: Callable[..., Any], opened: Callable[..., Opened], confirm: Any, width: int
) -> None:
    size = {"viewport": {"width": width, "height": 900}}
    page, view = before_plotly(confirm, **size), opened(confirm, **size)
    assert page.locator("#plot-frontier .main-svg").count() == 0
    assert view.page.locator(".still").count() == 0
    figure = "#figure-frontier"
    assert page.locator(figure).bounding_box() == view.page.locator(figure).bounding_box()
    for still, plotly in ((".still-plot", ".nsewdrag"), (".still-x-title", ".xtitle"), (".still-y-title", ".ytitle")):
        before, after = (
            shown.locator(f"#plot-frontier {part}").first.bounding_box()
            for shown, part in ((page, still), (view.page, plotly))
        )
        assert [before[side] for side in before] == pytest.approx([after[side] for side in before], abs=4)
    for still, plotly in ((".still-x span", ".xtick text"), (".still-y span", ".ytick text")):
        assert page.locator(still).all_text_contents() == view.texts(f"#plot-frontier {plotly}")


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
def test_the_still_picture_has_the_themes_colours(before_plotly: Callable[..., Any], scheme: str, palette: Any) -> None:
    page = before_plotly(color_scheme=scheme)
    colours = """['path[stroke-linecap]', '.name text', '.grid'].map((part) => getComputedStyle(
        document.querySelector('.still ' + part))).map((style, index) => index === 1 ? style.fill : style.stroke)"""
    expected = (palette.ramp[0], palette.muted, palette.line)
    assert page.evaluate(colours) == [
        f"rgb({', '.join(str(int(c[i : i + 2], 16)) for i in (1, 3, 5))})" for c in expected
    ]


def test_axe_finds_no_serious_fault_in_the_still_picture(before_plotly: Callable[..., Any], confirm: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(before_plotly(confirm)).response["violations"]
    serious = [fault for fault in found if fault["impact"] in {"serious", "critical"}]
    assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in serious] == []


def test_hostile_names_are_harmless_in_the_browser(opened: Callable[..., Opened]) -> None:
    hostile = "</script><script>alert(1)</script><img src=https://example.org onerror=alert(2)>"

    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary["study"] = summary["controls"][1]["name"] = hostile
        for row in rows:
            row["params_" + hostile] = hostile
            row["error"] = hostile if row["error"] else ""

    view = opened(change)
    assert view.page.title().startswith(hostile)
    assert view.texts("h1") == [hostile]
    assert any(text.startswith("</script><script>alert(1)") for text in view.texts("#plot-frontier .annotation-text"))
    view.page.locator("#plot-frontier .scatterlayer .point").first.hover(force=True)
    assert "<img src=https" in view.page.locator("#plot-frontier .hoverlayer").inner_html().replace("&lt;", "<")
    assert view.page.locator("#plot-frontier .hoverlayer img").count() == 0
    view.assert_quiet()


@pytest.fixture
def compared(make_study: Make, tmp_path: Path) -> Path:
    """The comparison of three studies, two of them of one attack; their names are hostile."""
    names = ["</script><script>alert(1)</script>", "<img src=https://example.org onerror=alert(2)>", "& שלום 😀"]

    def change(name: str, attack: str) -> Any:
        return lambda _rows, summary: summary.update(study=name, attack=attack)

    folders = [
        make_study(name=f"study{index}", seed=5 + index, change=change(name, attack))
        for index, (name, attack) in enumerate(zip(names, ("refool", "badnets", "refool"), strict=True))
    ]
    assert main([*map(str, folders), "--output", str(tmp_path / "comparison.html")]) == 0
    return tmp_path / "comparison.html"


def test_every_panel_of_a_comparison_is_drawn_without_a_complaint(browser: Any, compared: Path) -> None:
    view = Opened(browser, compared, "fronts", color_scheme="dark")
    plots = view.page.locator(".plot").evaluate_all("plots => plots.map((plot) => plot.id)")
    assert plots == ["plot-fronts", "plot-panel-1", "plot-panel-2", "plot-hypervolumes", "plot-growth"]
    for plot in plots:
        view.page.locator(f"#{plot}").scroll_into_view_if_needed()
        view.page.locator(f"#{plot} .scatterlayer .point").first.wait_for(state="attached")
    for panel, studies in (("fronts", 3), ("panel-1", 2), ("panel-2", 1), ("growth", 3)):
        assert len(view.texts(f"#plot-{panel} .legendtext")) == studies
    assert view.page.locator("#plot-panel-2 .scatterlayer .point").count() == 22 + 2
    assert view.page.locator("img").count() == 0
    for name in ("fronts", "hypervolumes", "growth"):
        with view.page.expect_download() as download:
            view.page.locator(f"button[data-table={name}]").click()
        assert download.value.suggested_filename == f"{name}.csv"
    glyph = "getComputedStyle(document.querySelector('.glyph.series-1')).color"
    line = "getComputedStyle(document.querySelector('#plot-panel-2 .js-line')).stroke"
    dark = view.page.evaluate(line)
    assert dark == view.page.evaluate(glyph) == "rgb(255, 184, 77)"
    view.page.emulate_media(color_scheme="light")
    assert view.after_change(line, dark) == view.page.evaluate(glyph) == "rgb(192, 90, 0)"
    view.assert_quiet()
    view.context.close()


def test_a_comparison_fits_a_phone(browser: Any, compared: Path) -> None:
    view = Opened(browser, compared, "fronts", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert view.page.evaluate("document.documentElement.scrollWidth") == 390
    view.assert_quiet()
    view.context.close()

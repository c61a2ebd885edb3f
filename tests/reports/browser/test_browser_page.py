"""A study's page in a real browser: its figures, its table, its themes, its printer."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opened_page import Make, Opened, serious_faults

from reports.figures import figure_sections
from reports.figures.frontier_info import frontier_info
from reports.figures.parallel import parallel_info
from reports.study_folder import read_study


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
    opened: Callable[..., Opened], make_study: Make, confirm: Any, repeat: Any
) -> None:
    def both(rows: Any, summary: Any) -> None:
        repeat(rows, summary)
        confirm(rows, summary)

    view = opened(both)
    shown = figure_sections(read_study(make_study(name="twin", change=both)))
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


def test_brushing_keeps_the_settings_that_cross_the_brush(opened: Callable[..., Opened], make_study: Make) -> None:
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
    assert view.after_change(status, "") == f"{low.sum()} of {len(low)} settings kept by ASR"
    view.page.get_by_role("button", name="Show all").click()
    assert view.after_change(status, f"{low.sum()} of {len(low)} settings kept by ASR") == ""

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
    assert view.after_change(status, "") == f"{kept} of {len(low)} settings kept by {info.axes[0].label}"
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
    view = opened(confirm)
    assert _scroll_through(view) == []
    for scheme in ("light", "dark"):
        view.page.emulate_media(color_scheme=scheme)
        assert serious_faults(view.page) == []


def test_figures_have_their_place_before_they_are_drawn(opened: Callable[..., Opened]) -> None:
    view = opened()
    tops = "[...document.querySelectorAll('section')].map((section) => section.offsetTop)"
    drawn = view.page.evaluate(tops)
    view.page.evaluate("document.querySelectorAll('.plot').forEach((plot) => plot.replaceChildren())")
    assert view.page.evaluate(tops) == drawn


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
    assert any(text.startswith("</script><script>alert(1)") for text in view.texts("#plot-frontier .legendtext"))
    view.page.locator("#plot-frontier .scatterlayer .point").first.hover(force=True)
    assert "<img src=https" in view.page.locator("#plot-frontier .hoverlayer").inner_html().replace("&lt;", "<")
    assert view.page.locator("#plot-frontier .hoverlayer img").count() == 0
    view.assert_quiet()

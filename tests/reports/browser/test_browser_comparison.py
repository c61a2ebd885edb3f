"""The comparison of several studies in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opened_page import Make, Opened

from reports.build import main


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

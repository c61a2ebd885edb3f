"""A real browser; its pages are opened from files, with nothing to load from anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opened_page import Make, Opened

from reports.build import build

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, make_study: Make) -> Iterator[Callable[..., Opened]]:
    pages = []

    def open_study(change: Any = None, **context: Any) -> Opened:
        pages.append(Opened(browser, build(make_study(change=change)), **context))
        return pages[-1]

    yield open_study
    for page in pages:
        page.context.close()

"""A page that a real browser has open, and all that it complained about or asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Path]


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


def serious_faults(page: Any) -> list[Any]:
    """What axe finds that shuts people out: each fault, and where it is."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(page).response["violations"]
    serious = [fault for fault in found if fault["impact"] in {"serious", "critical"}]
    return [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in serious]

"""The site as `make docs` builds it, in a real browser without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(site)]
    return subprocess.run(command, cwd=config.parent, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A window onto the site's files, offline, and all that it complained about or asked for elsewhere."""

    def __init__(self, browser: Any, width: int, scheme: str) -> None:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.elsewhere(request.url))

    def elsewhere(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "about:")):
            self.complaints.append(url)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[[int, str], Visit]]:
    visits: list[Visit] = []

    def start(width: int = 1280, scheme: str = "light") -> Visit:
        visits.append(Visit(browser, width, scheme))
        return visits[-1]

    yield start
    for one in visits:
        one.page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_every_page_opens_offline_from_its_file(
    site: Path, visit: Callable[..., Visit], width: int, scheme: str
) -> None:
    window = visit(width, scheme)
    pages = sorted({*site.rglob("*.html")} - {site / "404.html"})  # which only a server shows
    assert len(pages) > 10
    for page in pages:
        window.page.goto(page.as_uri())
        assert window.page.locator("h1").first.text_content()
        assert window.page.evaluate("document.documentElement.scrollWidth") <= width, page.name
        pictures = "[...document.images].filter(picture => !picture.naturalWidth).map(picture => picture.src)"
        assert window.page.evaluate(pictures) == []
    assert window.complaints == []


def test_search_finds_a_page_offline(site: Path, visit: Callable[..., Visit]) -> None:
    window = visit()
    window.page.goto((site / "index.html").as_uri())
    window.page.locator(".md-search__input").press_sequentially("hypervolume")
    window.page.locator(".md-search-result__link[href*='reports.analysis.frontier.hypervolume']").first.wait_for(
        state="attached"
    )
    assert window.complaints == []


def test_copied_commands_have_no_prompt(site: Path, visit: Callable[..., Visit]) -> None:
    window = visit()
    window.page.goto((site / "index.html").as_uri())
    code = window.page.locator(".language-console code").first
    assert code.inner_text().startswith("$ make study")
    code.evaluate("code => code.setAttribute('data-md-copying', '')")  # as the theme's button does
    assert code.inner_text().strip().startswith("make study")


def test_reference_has_the_docstrings_and_their_lines(site: Path) -> None:
    page = (site / "reference" / "nad.html").read_text()
    assert "<p>Raises: ConfigError for a 1x1 map" in page
    assert "+-- ConfigError" in page


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("[gone](no-such-page.md) and [gone](own.md#no-such-part)", ("no-such-page.md", "no-such-part")),
        ("::: nad.no_such_module", ("nad.no_such_module",)),
    ],
    ids=["links", "reference"],
)
def test_what_leads_nowhere_fails_the_build(tmp_path: Path, text: str, complaints: tuple[str, ...]) -> None:
    settings, _, _ = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")
    (tmp_path / "mkdocs.yml").write_text(settings)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "docstrings.py", tmp_path / "docs")
    (tmp_path / "docs" / "own.md").write_text("# Own\n")
    (tmp_path / "docs" / "index.md").write_text(f"# Title\n\n{text}\n")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    for complaint in complaints:
        assert complaint in done.stderr

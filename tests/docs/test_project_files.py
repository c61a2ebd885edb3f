"""Files that a public project is expected to have."""

from __future__ import annotations

import re
import tomllib

import yaml
from pages import PAGES, ROOT, blocks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("nad", "search_spaces", "study", "reports", "benchmarks")


def test_the_citation_names_the_paper_and_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    paper = citation["preferred-citation"]
    assert paper["title"] == "Neural Attention Distillation: Erasing Backdoor Triggers from Deep Neural Networks"
    assert [author["family-names"] for author in paper["authors"]] == ["Li", "Lyu", "Koren", "Lyu", "Li", "Ma"]


def test_the_workflow_runs_what_developers_run() -> None:
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["check"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert "make check wheel" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90


def test_pages_named_in_the_code_exist() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    named = {(file.name, page) for file in files for page in re.findall(r"\bdocs/[\w-]+\.\w+", file.read_text())}
    assert named
    assert [(file, page) for file, page in sorted(named) if not (ROOT / page).is_file()] == []


def test_sources_named_in_the_pages_exist() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    pattern = re.compile(rf"`((?:{'|'.join(PACKAGES)}|tests)/[\w/.-]*)`")
    titled = {block.title for page in PAGES for block in blocks(page)}  # the reader writes these
    named = {(page.name, path) for page in pages for path in pattern.findall(page.read_text())}
    assert named
    assert [(page, path) for page, path in sorted(named) if path not in titled and not (ROOT / path).exists()] == []

"""Files that a public project is expected to have."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml
from pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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


def test_pages_that_the_code_names_exist() -> None:
    files = [file for folder in ("nad", "search_spaces", "study", "reports", "benchmarks") for file in code(folder)]
    named = {(file.name, page) for file in files for page in re.findall(r"\bdocs/[\w-]+\.\w+", file.read_text())}
    assert named
    assert [(file, page) for file, page in sorted(named) if not (ROOT / page).is_file()] == []


def code(folder: str) -> Iterator[Path]:
    return (ROOT / folder).rglob("*.py")

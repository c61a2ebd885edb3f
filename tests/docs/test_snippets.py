"""Every command and snippet in the README and in docs/: run, or at least accepted by the real command line."""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands import Refused, check
from pages import PAGES, ROOT, Block, Command, blocks, console_commands, inline_commands

PACKAGES = ("nad", "search_spaces", "study", "reports", "tests")
PROGRAMS: dict[str, tuple[str, ...]] = {"python": (), "nad-study": ("-m", "study")}
"""Programs of run blocks, and their modules for `python`."""
LONGEST = 280
"""Seconds that one command of a page may take, on a machine that is busy with other things; alone it takes ten."""


def commands() -> list[Command]:
    fenced = [
        command
        for page in PAGES
        for block in blocks(page)
        if block.language == "console" and not block.run
        for command in console_commands(block)
    ]
    return fenced + [command for page in PAGES for command in inline_commands(page)]


@pytest.mark.parametrize("command", commands(), ids=lambda command: f"{command.place} {' '.join(command.words)}"[:90])
def test_command_is_accepted(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    check(command.words)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the sources to work in, as a reader would in a checkout, with an empty cache."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine, two that wait for each other take ten times as long
    yield tmp_path
    torch.set_num_threads(threads)


def does_something(block: Block) -> bool:
    return block.language in ("python", "pycon") or block.run


@pytest.mark.timeout(2 * LONGEST)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(does_something, blocks(page)))], ids=lambda page: page.name
)
def test_page_runs_from_top_to_bottom(page: Path, checkout: Path) -> None:
    found = blocks(page)
    for block in found:
        if block.title:
            put(block, checkout)
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in found:
        if not block.title:
            run(block, namespace)


def put(block: Block, folder: Path) -> None:
    """Write the file that a titled block is, or make the change in it that a diff shows."""
    file = folder / block.title
    if block.language != "diff":
        assert not file.exists(), f"{block.place}: {block.title} is there already"
        file.write_text(block.text)
        return
    lines = file.read_text().splitlines()
    where = -1
    for line in block.text.splitlines():
        sign, content = line[:1], line[1:]
        if sign == "+":
            where += 1
            lines.insert(where, content)
        elif sign != "@":
            assert lines.count(content) == 1, f"{block.place}: {block.title} has no single line {content!r}"
            where = lines.index(content)
    file.write_text("\n".join([*lines, ""]))


def run(block: Block, namespace: dict[str, object]) -> None:
    if block.language == "python":
        lead = "\n" * (block.line - 1)  # so that a traceback names the page's line
        exec(compile(lead + block.text, str(block.page), "exec"), namespace)
    elif block.language == "pycon":
        example = doctest.DocTestParser().get_doctest(block.text, namespace, block.place, str(block.page), 0)
        results = doctest.DocTestRunner().run(example, clear_globs=False)
        assert results.failed == 0, f"{block.place}: {results.failed} of {results.attempted} examples failed, see above"
        namespace |= example.globs
    elif block.run:
        for command in console_commands(block):
            execute(command)


def execute(command: Command) -> None:
    program, *rest = command.words
    assert program in PROGRAMS, f"{command.place}: only {' and '.join(PROGRAMS)} are run"
    done = subprocess.run(
        [sys.executable, *PROGRAMS[program], *rest],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, f"{command.place}\n{done.stdout}\n{done.stderr}"


# The checks themselves


@pytest.mark.parametrize(
    "line",
    [
        "python -m study.run --atack refool",
        "python -m study.run --attack reful",
        "python -m study.run --trials 0",
        "python -m study.run --time-budget soon",
        "nad-study --no-such-option",
        "nad-study run --no-such-option",
        "nad-study list runs",
        "nad-study show",
        "nad-study stop refool-fashion-c --soon",
        "nad-study resume refool-fashion-c --trials 0",
        "nad-study report",
        "nad-study report runs/a runs/b --watch",
        "python -m reports.build",
        "python -m reports.build runs/a --no-such-option",
        "python -m reports.build runs/a runs/b --watch",
        "python -m reports.nothing",
        "python -m benchmarks.nothing",
        "nad-study apply runs/a --victim victim.safetensors",
        "nad-study defend finepruning --victim victim.safetensors --data images",
        "python -m pytest tests/nothing",
        "make nothing",
        "ray begin --head",
        "ray start --hed",
        "chmod ~/.ray/auth_token",
        "rm -r runs",
    ],
)
def test_command_that_would_fail_is_caught(line: str) -> None:
    with pytest.raises(Refused):
        check(tuple(line.split()))


def page_of(folder: Path, text: str) -> Block:
    page = folder / "page.md"
    page.write_text(text)
    return next(block._replace(page=ROOT / "page.md") for block in blocks(page))


def test_snippet_that_raises_is_caught_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(page_of(tmp_path, "# Title\n\n```python\nx = 1\nx / 0\n```\n"), {})
    assert caught.traceback[-1].lineno + 1 == 5


def test_output_that_differs_is_caught(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:2: 1 of 1"):
        run(page_of(tmp_path, "```pycon\n>>> 1 + 1\n3\n```\n"), {})


def test_change_that_no_longer_fits_is_caught(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("one\n")
    with pytest.raises(AssertionError, match="no single line 'two'"):
        put(page_of(tmp_path, '```diff title="file.py"\n two\n+three\n```\n'), tmp_path)


def test_commands_are_found_wherever_they_stand(tmp_path: Path) -> None:
    block = page_of(tmp_path, "<!-- run -->\n```console\n$ make a \\\n      b   # why\noutput\n$ make c\n```\n")
    assert [command.words for command in console_commands(block)] == [("make", "a", "b"), ("make", "c")]
    assert block.run


def test_first_hour_shows_the_study_that_make_runs() -> None:
    shown = subprocess.run(["make", "-n", "study"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    made = next(line.split()[3:] for line in shown.splitlines() if "study.run" in line)
    page = blocks(ROOT / "docs" / "first-hour.md")
    told = [
        list(command.words[1:]) for block in page if block.language == "console" for command in console_commands(block)
    ]
    assert made in told
    assert [*made[:-2], "--confirm", "3"] in told

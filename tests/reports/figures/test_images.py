from __future__ import annotations

import os
import shutil
import socket
import struct
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import plotly.graph_objects as go
import pytest

import reports.build
from reports.build import main
from reports.figures import images
from reports.figures.drawing import escape, layout
from reports.figures.frontier_info import frontier_info
from reports.files import ReportError
from reports.page.study_page import study_figures
from reports.study_folder import read_study

Make = Callable[..., Path]
HOSTILE = "</svg><script>alert(1)</script> & שלום 😀"


def has_browser() -> bool:
    return any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome"))


@pytest.fixture
def drawing() -> None:
    pytest.importorskip("kaleido", reason="kaleido is not installed")
    if not has_browser():
        pytest.skip("there is no Chromium on this machine")


def figure(name: str = "a") -> go.Figure:
    return go.Figure(go.Scatter(x=[1, 2], y=[2, 1], name=escape(name), showlegend=True), layout())


@pytest.mark.usefixtures("drawing")
def test_each_figure_of_the_page_is_drawn_in_each_format(
    make_study: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = ("frontier", "hypervolume", "hypervolume-1")  # all would take a minute
    monkeypatch.setattr(
        reports.build, "study_figures", lambda study: {name: study_figures(study)[name] for name in figures}
    )
    folder = make_study()
    assert main([str(folder), "--images", "png", "svg"]) == 0
    names = [f"{name}.{kind}" for name in figures for kind in ("png", "svg")]
    listed = capsys.readouterr().out.splitlines()[2:]
    assert listed == [str(folder / "report-figures" / name) for name in names]
    png = (folder / "report-figures" / "frontier.png").read_bytes()
    assert struct.unpack(">II", png[16:24]) == (2 * images.SIZE["width"], 2 * images.SIZE["height"])
    svg = ET.parse(folder / "report-figures" / "frontier.svg")
    points = [node for node in svg.iter() if "point" in node.get("class", "").split()]
    info = frontier_info(read_study(folder))
    marks = [info.victim, *info.controls, *filter(None, (info.recommended, info.knee)), *info.confirmed]
    assert len(points) == 22 + len(marks)  # complete trials, and what they are measured against
    assert (folder / "report-figures" / "frontier.svg").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("drawing")
def test_names_stay_text_in_a_picture_and_no_script_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked: list[bytes] = []
        threading.Thread(target=_listen, args=(server, asked), daemon=True).start()
        monkeypatch.setattr(images, "NOWHERE", f"http://127.0.0.1:{server.getsockname()[1]}")
        svg = images.draw({"a": figure(HOSTILE)}, ["svg"])["a", "svg"].decode()
    root = ET.fromstring(svg)
    assert not [node for node in root.iter() if node.tag.endswith("script")]
    assert HOSTILE in ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]
    # what a browser asks its maker at every start goes nowhere otherwise; the page itself asks for nothing
    assert not [request for request in asked if b"mathjax" in request or b"cdnjs" in request or b"plot.ly" in request]


def _listen(server: socket.socket, asked: list[bytes]) -> None:
    """Stand in for the proxy that leads nowhere, and note what would have gone out."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            asked.append(connection.recv(4096))


def test_without_the_extra_one_sentence_says_how_to_get_it(
    make_study: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    assert main([str(make_study()), "--images", "png"]) == 2
    printed = capsys.readouterr().err
    assert "pip install 'nad-study[images]'" in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("browser", "sentence"),
    [("/nowhere/chromium", "none was found; install one"), ("/bin/false", "the browser did not draw the images")],
)
def test_without_a_browser_that_works_one_sentence_says_so(
    make_study: Make,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    browser: str,
    sentence: str,
) -> None:
    pytest.importorskip("kaleido", reason="kaleido is not installed")
    monkeypatch.setenv("BROWSER_PATH", browser)
    folder = make_study()
    assert main([str(folder), "--images", "svg"]) == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert "BROWSER_PATH" in printed
    assert printed.count("\n") == 1
    assert (folder / "report.html").is_file()
    assert not (folder / "report-figures").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "draw", lambda figures, formats: {("a", "png"): b""})
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(ReportError, match="cannot be made: File exists"):
        images.write_images({"a": figure()}, ["png"], tmp_path / "figures")
    assert os.listdir(tmp_path) == ["figures"]


def test_another_format_is_refused(make_study: Make, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(make_study()), "--images", "gif"])
    assert stopped.value.code == 2
    assert "choose from" in capsys.readouterr().err

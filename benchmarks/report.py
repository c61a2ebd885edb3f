"""Size, build time and first paint of the report: `python -m benchmarks.report`.

Writes folders of made-up studies with 200 and 2,000 trials, builds each report in a fresh process, and opens it in a
headless Chromium, if there is one. Two times start at the navigation and end at the paint of the frontier’s static
picture, and at the first point of the interactive figure. A third is for all other figures, drawn for printing. Medians
of three. The last line is JSON.

The first two are measured without a debugger: a driven browser records the place of each exception, and rereads much of
Plotly’s script for it. Readers’ browsers do not.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (200, 2000)
REPEATS = 3
LAYERS = ("group1", "group2", "group3")
BUILD = """
import sys, time
from pathlib import Path
start = time.perf_counter()
from reports.build import build
build(Path(sys.argv[1]))
assert "torch" not in sys.modules
print(time.perf_counter() - start)
"""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu")
LONGEST_WAIT = 120.0
WATCH = """
let still;
const watch = () => {
  if (!still && document.querySelector("#plot-frontier .static")) {
    const { port1, port2 } = new MessageChannel();  // its message comes after this frame is painted
    port1.onmessage = () => { still ??= performance.now(); };
    port2.postMessage(null);
  }
  if (!document.querySelector("#plot-frontier .scatterlayer .point")) requestAnimationFrame(watch);
  else console.log(`still ${still} drawn ${performance.now()} ms`);
};
requestAnimationFrame(watch);
"""


def trial(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A made-up complete trial with as many settings as the space `nad` has."""
    params: dict[str, Any] = {}
    for index, layer in enumerate(LAYERS):
        params[f"params_distil_{layer}"] = bool(rng.random() < 0.6)
        if params[f"params_distil_{layer}"]:
            params[f"params_beta_{layer}"] = float(30 * 4 ** (2 - index) * 100 ** rng.random())
    params |= {
        "params_clean_fraction": float(rng.choice([0.01, 0.05, 0.1, 0.2])),
        "params_schedule": str(rng.choice(["code", "paper"])),
        "params_cutout": int(rng.choice([3, 9])),
        "params_epochs": int(2 * 10 ** rng.random()),
    }
    # Seven in ten trials trade accuracy for ASR; the others only lose.
    asr = float(rng.beta(0.7, 0.7))
    acc = 0.8 - 0.25 * (1 - asr) ** 4 - float(rng.exponential(0.02 if rng.random() < 0.7 else 0.15))
    asr, acc = round(asr * 720) / 720, round(max(acc, 0.1) * 800) / 800
    epochs = params["params_epochs"]
    curve = [
        [round(float(asr + rng.normal(0, 0.02)) % 1, 2), round(acc * (at + 1) / epochs, 2)] for at in range(epochs)
    ]
    seconds = 4.0 + 2 * epochs
    return {
        "number": number,
        "state": "COMPLETE",
        "control": "fine-tuning" if number == 0 else "",
        "asr": asr,
        "acc": acc,
        "acc_non_target": acc,
        "recovery_acc": 0.8 * acc * (1 - asr),
        "setting": 0,
        "draw": 0,
        "seed": 2968811710,
        "started": (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=13 * number)).isoformat(),
        "seconds": seconds,
        "compute_seconds": seconds - 0.1,
        "host": "worker",
        "error": "",
        "traceback": "",
        "curve": json.dumps(curve),
    } | params


def write_study(directory: Path, trials: int) -> None:
    """The folder of a made-up study."""
    rng = np.random.default_rng(trials)
    rows = [trial(number, rng) for number in range(trials)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (directory / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    params = {name.removeprefix("params_"): value for name, value in rows[0].items() if name.startswith("params_")}
    point = {"number": 0, "params": params, "validation": {"asr": rows[0]["asr"], "acc": rows[0]["acc"]}}
    summary = {
        "study": f"made up, {trials} trials",
        **dict.fromkeys(("attack", "dataset", "model", "command", "host", "victim_sha256"), "made up"),
        "seed": 0,
        "versions": {},
        "victim": {"asr": 0.98, "acc": 0.82},
        "wanted_trials": trials,
        "seconds": {},
        "max_acc_drop": 0.05,
        "front": [],
        "controls": [{"name": "fine-tuning", **point}],
        "recommended": point,
        "recommended_why": "It is the first.",
        "created": datetime(2026, 1, 2, tzinfo=UTC).isoformat(),
        "git": None,
        "attack_settings": {},
        "counts": {},
    }
    (directory / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (directory / "config.json").write_text("{}", encoding="utf-8")


def build_seconds(directory: Path) -> float:
    """Seconds of a build in a fresh process, imports included."""
    command = [sys.executable, "-c", BUILD, str(directory)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def first_seconds(report: Path, chromium: str) -> tuple[float, float]:
    """Seconds until the static picture is painted, and until the interactive figure is drawn.

    The watching script prints these on the console. It stands before the page's policy, or it would be forbidden.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(folder, "report.html")
        page, policy = report.read_text(encoding="utf-8"), "<meta http-equiv"
        copy.write_text(page.replace(policy, f"<script>{WATCH}</script>\n{policy}", 1), encoding="utf-8")
        own = ("--enable-logging=stderr", "--log-level=0", "--remote-debugging-port=0", "--window-size=1280,900")
        command = [chromium, *FLAGS, *own, f"--user-data-dir={folder}/profile", copy.as_uri()]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
            watchdog = threading.Timer(LONGEST_WAIT, browser.kill)
            watchdog.start()
            try:
                told = (re.search(r"still (\S+) drawn (\S+) ms", line) for line in browser.stderr or ())
                still, drawn = next(found.groups() for found in told if found)
            finally:
                watchdog.cancel()
                browser.terminate()
    return float(still) / 1000, float(drawn) / 1000


def others_seconds(report: Path, chromium: str) -> float:
    """Seconds until all other figures are drawn for printing."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(report.as_uri())
        page.wait_for_selector("#plot-frontier .scatterlayer .point", timeout=1000 * LONGEST_WAIT)
        start = float(page.evaluate("performance.now()"))
        page.emulate_media(media="print")
        while page.evaluate("[...document.querySelectorAll('.plot')].some((plot) => !plot.querySelector('.main-svg'))"):
            page.wait_for_timeout(10)
        return (float(page.evaluate("performance.now()")) - start) / 1000


def measure(trials: int, chromium: str | None) -> dict[str, float]:
    """All figures of one size."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_study(directory, trials)
        result = {
            "build_seconds": round(statistics.median(build_seconds(directory) for _ in range(REPEATS)), 2),
            "megabytes": round((directory / "report.html").stat().st_size / 1e6, 2),
        }
        if chromium:
            report = directory / "report.html"
            first = [first_seconds(report, chromium) for _ in range(REPEATS)]
            result["static_picture_seconds"] = round(statistics.median(still for still, _ in first), 2)
            result["first_figure_seconds"] = round(statistics.median(drawn for _, drawn in first), 2)
            others = [others_seconds(report, chromium) for _ in range(REPEATS)]
            result["all_figures_seconds"] = round(statistics.median(others), 2)
    return result


def main() -> None:
    """Measure each size, and print the figures."""
    chromium = shutil.which("chromium")
    results = {}
    for trials in SIZES:
        results[str(trials)] = result = measure(trials, chromium)
        print(f"{trials} trials: built in {result['build_seconds']} s, {result['megabytes']} MB", end="")
        if chromium:
            print(
                f"; static picture after {result['static_picture_seconds']} s, explorable after"
                f" {result['first_figure_seconds']} s, all others in {result['all_figures_seconds']} s",
                end="",
            )
        print()
    print(json.dumps(results))


if __name__ == "__main__":
    main()

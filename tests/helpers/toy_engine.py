"""Toy trials, tasks and drivers for the engine's tests; workers import this module."""

from __future__ import annotations

import fcntl
import os
import re
import sys
import termios
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch

from nad.checkpoints import Checkpoint
from nad.errors import EraseDiverged
from nad.progress import Progress
from study.display.events import display_for
from study.engine import session, tasks, tune
from study.engine.nodes import Share
from study.engine.remote_training import _run_watched
from study.record.storage import open_study
from study.search.queue import enqueue
from study.search.searcher import OptunaSearcher, Shown
from study.signals import Interrupted, stopped_at_once

METRICS = ("asr", "acc")
DIRECTIONS = ("minimize", "maximize")
SLOTS = 2
DRIVER = Path(__file__).with_name("toy_driver.py")
IMPORTABLE = os.pathsep.join(path for path in sys.path if path)  # workers import this module, too


def toy(config: Mapping[str, Any], payload: Mapping[str, Any], report: tune.Report) -> None:
    """Scores at once, or fails as planned in the payload for this trial number."""
    plan = payload["plan"].get(config["number"], "score")
    x = config["setting"]["x"]
    scores = {"asr": x, "acc": 1 - x * x}
    if plan == "raise":
        raise ValueError("this trial's own mistake")
    if plan == "diverge":
        raise EraseDiverged("the loss is no longer finite in epoch 2")
    if plan == "print":
        print("said by a trial")
        warnings.warn("careful", stacklevel=1)
    if plan == "die":
        os._exit(1)
    if plan == "return":
        return
    report({"epoch": 1, **scores})
    if plan == "nan":
        scores["acc"] = float("nan")
    threads = int(os.environ["OMP_NUM_THREADS"])
    report({"final": True, **scores, "pid": os.getpid(), "threads": threads, "folder": os.getcwd()})


class Heavy:
    """A trial's memory; ALIVE counts a worker's."""


ALIVE: weakref.WeakSet[Heavy] = weakref.WeakSet()


def epochs(config: Mapping[str, Any], payload: Path, report: tune.Report) -> None:
    """Ten epochs of the same scores; leaves its process's number in the folder at any kind of end."""
    x, heavy = config["setting"]["x"], Heavy()
    ALIVE.add(heavy)
    try:
        for epoch in range(1, 11):
            report({"epoch": epoch, "asr": x, "acc": 1 - x})
        report({"final": True, "asr": x, "acc": 1 - x, "pid": os.getpid(), "alive": len(ALIVE)})
    finally:
        (payload / f"{config['number']} {os.getpid()}").touch()


def above_half(trial: Shown, others: Sequence[Shown]) -> str:
    """Object after three epochs to x > 0.5."""
    return "x is too large" if len(trial.curve) == 3 and trial.setting["x"] > 0.5 else ""


def slow(config: Mapping[str, Any], payload: tuple[int, Path], report: tune.Report) -> None:
    """The first ones score, the others wait for a file."""
    first, go = payload
    while config["number"] >= first and not go.exists():
        time.sleep(0.1)
    toy(config, {"plan": {}}, report)


def hang(config: Mapping[str, Any], payload: Path, report: tune.Report) -> None:
    """The first point never comes back, nor does it let another thread of its process run."""
    first = payload / "first"
    if not first.exists():
        first.write_text(str(config["setting"]["x"]))
    if first.read_text() == str(config["setting"]["x"]):
        (payload / str(os.getpid())).touch()
        re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter's lock for longer than anybody waits
    toy(config, {"plan": {}}, report)


def meet(config: Mapping[str, Any], payload: Path, report: tune.Report) -> None:
    """Ends when a second trial has come."""
    (payload / str(config["number"])).touch()
    while len(list(payload.iterdir())) < 2:
        time.sleep(0.05)
    toy(config, {"plan": {}}, report)


def square(number: int, payload: Mapping[str, Any], progress: Progress) -> tuple[int, bool]:
    time.sleep(0.2 if number == 0 else 0.0)  # the first ends last
    return number**2 + int(payload["zeros"].sum()), payload["zeros"].flags.writeable


def climb(steps: int, folder: Path, progress: Progress) -> int:
    """Tells of each step, and takes the next when the folder has its name."""
    for step in range(1, steps + 1):
        while not (folder / f"{step / steps:g}").exists():
            progress(step, steps)
            time.sleep(0.05)
    return steps


def die(number: int, payload: Any, progress: Progress) -> None:
    os._exit(1)


def diverge(number: int, payload: Any, progress: Progress) -> None:
    if number:
        raise EraseDiverged(f"teacher {number} diverged")


def space(trial: optuna.Trial) -> dict[str, Any]:
    return {"x": trial.suggest_float("x", 0.0, 1.0)}


# the driver


def open_toy(folder: Path) -> optuna.study.Study:
    return open_study(f"sqlite:///{folder}/study.db", "toy", "random", 0, DIRECTIONS)


def searcher_of(study: optuna.study.Study, wanted: int, **settings: Any) -> OptunaSearcher:
    return OptunaSearcher(study, settings.pop("space", space), METRICS, wanted, **{"seed": 0, **settings})


def drive(folder: Path, tell: Callable[[], object] = lambda: print("finishing", flush=True)) -> None:
    """A whole driver process: three trials score, the next two run until there is a file `go`, or this is ended."""
    study = open_toy(folder)
    enqueue(study, {"x": 0.5}, {"control": "fine-tuning"})
    with session.ray_session(cpus=SLOTS):
        tune.run_trials(
            slow,
            searcher_of(study, wanted=8),
            payload=(3, folder / "go"),
            slots=SLOTS,
            on_interrupt=tell,
        )


def drive_in_terminal(folder: Path) -> None:
    """The same with a study's display, in the terminal of its start."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    display = display_for([])

    def tell() -> None:
        (folder / "told").touch()
        display.say("finishing")

    try:
        with display.stage("trials", "done") as step:
            step(0, 8)
            drive(folder, tell)
    except Interrupted as error:
        sys.exit(display.failed("interrupted", error.exit_code))


def nap(seconds: float, folder: Path, progress: Progress | None) -> None:
    """A long task; it marks its start."""
    (folder / "napping").touch()
    time.sleep(seconds)


def drive_tasks(folder: Path) -> None:
    """A whole driver process with endless tasks and a study's signal handlers."""
    with stopped_at_once(), session.ray_session(cpus=SLOTS):
        tasks.run_tasks(nap, [600.0] * (SLOTS + 1), payload=folder)


def drive_training(folder: Path) -> None:
    """A whole driver process with an endless victim training on the cluster."""
    with session.ray_session(cpus=SLOTS):
        _run_watched(partial(nap_in_training, folder), Share(1, 0), lambda latest: None)


def nap_in_training(folder: Path, device: torch.device | None, progress: Progress | None) -> Checkpoint:
    nap(600.0, folder, progress)
    return Checkpoint({}, {})


def states(study: optuna.study.Study) -> dict[str, int]:
    return dict(Counter(trial.state.name for trial in study.trials))

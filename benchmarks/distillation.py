"""Gain of distillation over fine-tuning, for fixed settings and several victims: `python -m benchmarks.distillation`.

A study finds the best setting of one victim. This compares a few settings with their twins (beta = 0, same clean
images, same batches) on several victims: Refool on the embedded data, 10% clean images, the released code's training
cut to 4 and to 10 epochs. Each victim is erased on several draws and scored on the test images. The last line is JSON.

Runs already in `--output` are skipped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import tyro
from rich.console import Console

from nad.data import fingerprint
from nad.erasure import PRESETS, EraseConfig
from nad.files import written_beside
from reports.analysis import intervals
from search_spaces import Point
from study.display.progress import Display
from study.engine import session, tasks
from study.options.config import StudyConfig
from study.record.folder import cache_folder
from study.stages.confirmation import ConfirmationRun, run_once
from study.stages.preparation import Preparation
from study.stages.teachers import with_teachers
from study.stages.workload import for_draw, make_workload

CLEAN_FRACTION = 0.1

TWIN = "fine-tuning"
RELEASED = "released: 500, 1000, 1000"
BETAS: dict[str, dict[str, float]] = {
    TWIN: {},
    RELEASED: PRESETS["code"].weights,
    "group1 24000": {"group1": 24000.0},
    "group2 6000": {"group2": 6000.0},
    "group3 1000": {"group3": 1000.0},
    "group3 1500": {"group3": 1500.0},
    "group3 2000": {"group3": 2000.0},
    "group1 2000, group3 1500": {"group1": 2000.0, "group3": 1500.0},
    "group2 4000, group3 1000": {"group2": 4000.0, "group3": 1000.0},
}
SHORT, LONG = 4, 10
SETTINGS = [(SHORT, name) for name in BETAS] + [(LONG, name) for name in (TWIN, RELEASED, "group3 1500")]
"""Pairs of epochs and a name in BETAS."""


@dataclass(frozen=True)
class Arguments:
    """Gain of distillation over fine-tuning, for fixed settings and several victims."""

    seeds: tuple[int, ...] = (0, 1, 2, 3)
    """One victim each."""
    draws: int = 3
    """Draws of each victim."""
    output: Path = Path("runs/distillation.csv")
    """Table of all runs; its rows are kept."""


def settings(epochs: int, name: str) -> EraseConfig:
    """The released code's training with these epochs and betas."""
    betas = BETAS[name]
    return replace(PRESETS["code"], epochs=epochs, layers=tuple(betas), betas=tuple(betas.values()))


def main(arguments: Arguments) -> None:
    """Do the missing runs, and print the table."""
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    done = pd.read_csv(arguments.output) if arguments.output.exists() else pd.DataFrame()
    display = Display(Console(stderr=True))
    for seed in arguments.seeds:
        done = _with_victim(done, seed, arguments, display)
    found = table(done)
    print(found.to_string())
    print(json.dumps(found.reset_index().to_dict("records")))


def _with_victim(done: pd.DataFrame, seed: int, arguments: Arguments, display: Display) -> pd.DataFrame:
    """The table with this victim's runs added."""
    known = set() if done.empty else set(zip(done["seed"], done["draw"], done["epochs"], done["betas"], strict=True))
    todo = [
        (draw, epochs, name)
        for draw in range(1, arguments.draws + 1)
        for epochs, name in SETTINGS
        if (seed, draw, epochs, name) not in known
    ]
    if not todo:
        return done
    config = StudyConfig.of(attack="refool", clean_fractions=(CLEAN_FRACTION,), seed=seed)
    preparation = Preparation(config, cache_folder(None), display)
    scenario = preparation.load_scenario()
    victim = preparation.prepare_victim(scenario, config.recipe)
    block = make_workload(config, scenario, victim, scenario.test)
    blocks = {draw: for_draw(block, scenario, CLEAN_FRACTION, draw) for draw in sorted({draw for draw, *_ in todo})}
    with session.ray_session(cpus=config.engine.cpus):
        teachers = [(draw, CLEAN_FRACTION) for draw in blocks]
        blocks = with_teachers(blocks, teachers, fingerprint(scenario.dataset), preparation)
        with display.stage(f"erases of victim {seed}", "runs") as step:
            rows: list[dict[str, object]] = []

            def keep(index: int, scores: dict[str, object]) -> None:
                draw, epochs, name = todo[index]
                rows.append({"seed": seed, "draw": draw, "epochs": epochs, "betas": name, **scores})
                with written_beside(arguments.output) as beside:
                    pd.concat([done, pd.DataFrame(rows)]).to_csv(beside, index=False)
                step(len(rows), len(todo))

            runs = [ConfirmationRun(Point(CLEAN_FRACTION, settings(epochs, name)), draw) for draw, epochs, name in todo]
            tasks.run_tasks(run_once, [run.argument for run in runs], payload=blocks, on_done=keep)
    return pd.concat([done, pd.DataFrame(rows)])


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over victims and draws, in points, and differences to the twins.

    Their 95% intervals are over victims: draws of one victim are not independent.
    """
    rows = {}
    keys = ["seed", "draw"]
    for epochs, name in SETTINGS:
        ours, twins = (
            runs[(runs["epochs"] == epochs) & (runs["betas"] == which)].set_index(keys) for which in (name, TWIN)
        )
        row: dict[str, float | int | str] = {"runs": int(ours["asr"].notna().sum())}
        for score in ("asr", "acc"):
            row[score] = round(100 * ours[score].mean(), 1)
            difference = 100 * (ours[score] - twins[score]).dropna()
            row[f"{score} added"] = round(difference.mean(), 1)
            interval = intervals.of_mean(list(difference.groupby("seed").mean()))
            row[f"{score} interval"] = "" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"
        row["lower asr than its twin"] = int((ours["asr"] - twins["asr"] < 0).sum())
        rows[epochs, name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["epochs", "betas"])


if __name__ == "__main__":
    main(tyro.cli(Arguments))

"""Driver process of a study for `nad-study show` and `stop`: toy trials on a real Ray, no training."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toy_engine import SLOTS, searcher_of, toy

from study.engine import session, tune
from study.record.driver import FILE, Driver
from study.record.folder import open_folder
from study.record.storage import open_study
from study.search.queue import enqueue

WANTED = 8
SCORING = 3
"""Trials without training."""


def wait_for(config: Mapping[str, Any], payload: Path, report: tune.Report) -> None:
    """The first ones score at once, the others when the file is there."""
    while config["number"] >= SCORING and not payload.exists():
        time.sleep(0.05)
    toy(config, {"plan": {}}, report)


def main(path: Path) -> None:
    with open_folder(path) as folder:
        (folder.path / FILE).write_text(json.dumps(Driver.current().facts()))
        settings = {"attack": "refool", "dataset": "toy", "trials": WANTED}
        folder.config.write_text(json.dumps({"settings": settings}))
        study = open_study(folder.storage_url, folder.name, "random", 0, ["minimize", "maximize"])
        enqueue(study, {"x": 0.5}, {"control": "fine-tuning"})
        with session.ray_session(cpus=SLOTS):
            tune.run_trials(wait_for, searcher_of(study, wanted=WANTED), payload=path / "go", slots=SLOTS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Tasks for the nodes of a test's cluster; sent to them, so without imports of the tests."""

from __future__ import annotations

import os
from pathlib import Path

import nad
import study
from nad.errors import TrainingDiverged


def where_the_code_is() -> tuple[str, str]:
    return str(nad.__file__), str(study.__file__)


class Dies:
    """A training in a dying process; it marks each start in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, device: object, progress: object) -> None:
        (self.folder / str(os.getpid())).touch()
        os._exit(1)


class Diverges:
    def __call__(self, device: object, progress: object) -> None:
        raise TrainingDiverged("the victim's training diverged in epoch 2")

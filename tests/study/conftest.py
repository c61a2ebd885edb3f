"""Small images for studies of seconds; ready-made databases; a running Ray."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from filelock import FileLock
from PIL import Image
from toy_engine import IMPORTABLE, SLOTS
from toys import DIRECTIONS

from study.engine import session
from study.record.storage import open_study
from study.run import main

CLASSES = 4
SIZE = 16


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # or the bits of victims trained in this process depend on the load


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder tree: noise with a bright band, its place the class; 200 training and 40 test images."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for part, per_class in (("train", 50), ("test", 10)):
        for label in range(CLASSES):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(per_class):
                pixels = rng.integers(0, 120, (SIZE, SIZE, 3), dtype=np.uint8)
                band = SIZE // CLASSES
                pixels[label * band : (label + 1) * band] += 120
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder shared by all test processes."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    """Victims and teachers, trained once for all tests."""
    return shared / "cache"


@pytest.fixture(scope="session")
def options(image_folder: Path, cache: Path) -> list[str]:
    """Options shared by the tests' studies."""
    return [
        *("--attack", "badnets", "--dataset", "folder", "--data-dir", str(image_folder), "--image-size", "16"),
        *("--model", "wrn-10-1", "--poison-rate", "0.3", "--victim-epochs", "12", "--clean-fractions", "0.1", "0.2"),
        *("--sampler", "random", "--allow-weak-backdoor", "--cache", str(cache), "--workers", "1"),
        *("--confirm", "0"),
    ]


@pytest.fixture(scope="session")
def finished(options: list[str], shared: Path) -> Path:
    """Folder of a study of six trials; copy it before changing it."""
    folder = shared / "finished"
    with FileLock(shared / "finished.lock"):
        if not (folder / "s" / "report.html").exists():
            assert main([*options, "--trials", "6", "--output", str(folder), "--name", "s"]) == 0
    return folder / "s"


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with Optuna's tables and no study: to make one takes longer than most tests."""
    path = tmp_path_factory.mktemp("tables") / "study.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture
def url(tmp_path: Path, tables: Path) -> str:
    shutil.copy(tables, tmp_path / "study.db")
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def study(url: str) -> optuna.study.Study:
    return open_study(url, "s", "random", 0, DIRECTIONS)


@pytest.fixture(scope="module")
def ray_started() -> Iterator[None]:
    start = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", IMPORTABLE)
        with session.ray_session(cpus=SLOTS):
            print(f"\nRay started in {time.perf_counter() - start:.1f} s")
            yield

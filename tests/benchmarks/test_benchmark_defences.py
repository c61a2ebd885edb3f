"""The table of defences: its plan, its resuming, and one row measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tyro
from bands import make_images
from PIL import Image

from benchmarks import defence_row
from benchmarks.defences import Arguments, fill, planned, read, table
from nad.erasure import PRESETS
from nad.errors import ConfigError

SETTING = json.dumps({"lr": 0.02, "batch_size": 32, "schedule": "one-cycle", "cutout": 3, "epochs": 1})


def arguments(output: Path, **changes: Any) -> Arguments:
    usual = {"defences": ("fst", "nad-code"), "draws": (1, 2), "attack": "blend", "output": output}
    return Arguments(**{**usual, **changes})


def test_each_row_has_a_command_that_measures_it_again(tmp_path: Path) -> None:
    asked = arguments(tmp_path / "rows", setting=SETTING, data_dir=Path("my images"), attack_args=("a=1", "b=2"))
    rows = list(planned(asked))
    assert [(facts["defence"], facts["draw"]) for facts, _words in rows] == [
        (name, draw) for draw in (1, 2) for name in ("fst", "nad-code", "nad-setting")
    ]
    for facts, words in rows:
        row = tyro.cli(defence_row.Arguments, args=words)
        assert {name: getattr(row, name) for name in facts} == facts
        assert (row.data_dir, row.attack_args) == (asked.data_dir, asked.attack_args)
        assert row.setting == (SETTING if row.defence == "nad-setting" else None)


def test_rows_that_are_there_are_not_measured_again(tmp_path: Path) -> None:
    calls: list[Sequence[str]] = []

    def measure(words: Sequence[str]) -> dict[str, Any]:
        calls.append(words)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"asr": 0.1, "acc": 0.8, "seconds": 3.0, "peak_megabytes": 100}

    asked = arguments(tmp_path / "rows")
    with pytest.raises(KeyboardInterrupt):
        fill(asked, measure)
    fill(asked, measure)
    assert len(calls) == 5, "the interrupted one is measured again"
    fill(dataclasses.replace(asked, draws=(1, 2, 3)), measure)
    assert len(calls) == 7
    commands = [row["command"] for row in read(asked.output)]
    assert len(set(commands)) == len(commands) == 6
    assert commands[0].startswith("python -m benchmarks.defence_row --attack blend ")


def test_the_table_has_means_spreads_and_the_diverged_lowest_asr_first() -> None:
    good = {"acc": 0.8, "seconds": 3.0, "peak_megabytes": 100}
    rows = [
        {"defence": "anp", "asr": 0.5, **good},
        {"defence": "fst", "asr": 0.1, **good},
        {"defence": "fst", "asr": 0.2, **good, "peak_megabytes": 120},
        {"defence": "fst", "error": "its loss was nan"},
        {"defence": "i-bau", "error": "its loss was nan"},
    ]
    assert table(rows).splitlines()[2:] == [
        "| fst | 3 | 1 | 15.0 | 10.0 | 20.0 | 80.0 | 3 | 120 |",
        "| anp | 1 | 0 | 50.0 | 50.0 | 50.0 | 80.0 | 3 | 100 |",
        "| i-bau | 1 | 1 | | | | | | |",
    ]


def test_rows_are_presets_defences_and_a_setting() -> None:
    layers = ("layer1", "layer2", "layer3", "layer4")

    def erase(name: str, setting: str | None = None) -> Any:
        return defence_row.erase_of(defence_row.Arguments(defence=name, setting=setting), layers)

    assert erase("fst") is None
    assert erase("fine-tuning-paper") == PRESETS["paper"].twin()
    assert erase("nad-code").layers == ("layer2", "layer3", "layer4")
    assert (erase("nad-setting", SETTING).lr, erase("nad-setting", SETTING).layers) == (0.02, ())
    with pytest.raises(ConfigError, match="unknown row 'i-bua'; did you mean 'i-bau'"):
        erase("i-bua")
    with pytest.raises(SystemExit, match="go together"):
        erase("nad-setting")


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 training and 16 test images of four classes."""
    root = tmp_path_factory.mktemp("images")
    for part, count in (("train", 160), ("test", 16)):
        images = make_images(count, count)
        for index, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
            path = root / part / f"class{int(label)}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return root


@pytest.mark.parametrize(("defence", "setting"), [("nad-setting", SETTING), ("fst", None)], ids=["setting", "fst"])
def test_a_row_is_measured(
    defence: str, setting: str | None, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defence_row, "cache_folder", lambda _given: image_folder.parent)
    asked = defence_row.Arguments(
        dataset="folder", data_dir=image_folder, attack="badnets", victim_epochs=1, defence=defence, setting=setting
    )
    row = defence_row.measure(asked)
    assert row.keys() == {"victim_asr", "victim_acc", "clean_images", "asr", "acc", "seconds", "peak_megabytes"}
    assert all(0 <= row[name] <= 1 for name in ("victim_asr", "victim_acc", "asr", "acc"))
    assert row["peak_megabytes"] > 10
    again = defence_row.measure(asked)
    assert (again["asr"], again["acc"]) == (row["asr"], row["acc"])

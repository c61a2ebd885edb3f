"""Trials for TensorBoard, read back with TensorBoard's own reader where it is installed."""

from pathlib import Path
from typing import Never

import optuna
import pytest
from toys import FINAL, searcher_of

from study.display import tensorboard
from study.display.tensorboard import TensorBoard
from study.run import main
from study.search.trial_event import TrialEvent

pytest.importorskip("tensorboardX")


@pytest.fixture
def written(tmp_path: Path, study: optuna.study.Study) -> Path:
    """Two trials: one complete after three epochs, one failed."""
    board = TensorBoard(tmp_path / "tensorboard")
    searcher = searcher_of(study, on_event=board)
    searcher.suggest("t")
    for epoch in (1, 2, 3):
        searcher.on_trial_result("t", {"epoch": epoch, "asr": 1 / epoch, "acc": 0.5})
    searcher.on_trial_complete("t", FINAL)
    searcher.suggest("u")
    searcher.on_trial_complete("u", {"error": "no"})
    board.close()
    return tmp_path / "tensorboard"


def test_every_trial_is_a_run_of_its_own(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == ["trial-00000", "trial-00001"]
    assert all(b"brain.Event:2" in next(run.iterdir()).read_bytes() for run in written.iterdir())


def test_scores_and_hyperparameters_come_back_from_the_library_s_own_reader(
    written: Path, study: optuna.study.Study
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    run = accumulator.EventAccumulator(str(written / "trial-00000"))
    run.Reload()
    asr = [(event.step, event.value) for event in run.Scalars("asr")]
    assert asr == [(1, pytest.approx(1)), (2, pytest.approx(1 / 2)), (3, pytest.approx(1 / 3))]
    assert [event.value for event in run.Scalars("final/acc")] == [pytest.approx(0.9)]
    started = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin.HParamsPluginData.FromString(started).session_start_info.hparams
    assert settings["x"].number_value == pytest.approx(study.trials[0].params["x"])


def test_disk_that_is_full_ends_the_run_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments) -> Never:
        raise OSError(28, "No space left on device")

    board = TensorBoard(tmp_path)
    board(TrialEvent("started", 0, {}))
    with monkeypatch.context() as patch:
        patch.setattr(tensorboard._TrialFile, "scores", full)
        board(TrialEvent("progress", 0, {}, {"epoch": 1, "asr": 0.1, "acc": 0.9}))
    board(TrialEvent("complete", 0, {}, {"asr": 0.1, "acc": 0.9}))
    board.close()


def test_missing_package_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tensorboard, "_find", lambda _name: None)
    assert main(["--tensorboard", "--output", str(tmp_path / "runs")]) == 2
    assert "pip install 'nad-study[tensorboard]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

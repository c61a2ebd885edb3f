"""Trials for TensorBoard, read back with TensorBoard's own reader where it is installed."""

import pytest
from toys import FINAL, searcher_of

from nad.errors import ConfigError
from study.display import tensorboard
from study.display.tensorboard import TensorBoard
from study.options.config import StudyConfig
from study.search.searcher import TrialEvent

pytest.importorskip("tensorboardX")


@pytest.fixture
def written(tmp_path, study):
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


def test_every_trial_is_a_run_of_its_own(written):
    assert sorted(path.name for path in written.iterdir()) == ["trial-00000", "trial-00001"]
    assert all(b"brain.Event:2" in next(run.iterdir()).read_bytes() for run in written.iterdir())


def test_scores_and_hyperparameters_come_back_from_the_library_s_own_reader(written, study):
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


def test_disk_that_is_full_ends_the_run_and_nothing_else(tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    board = TensorBoard(tmp_path)
    board(TrialEvent("started", 0, {}))
    with monkeypatch.context() as patch:
        patch.setattr(tensorboard._Run, "scores", full)
        board(TrialEvent("progress", 0, {}, {"epoch": 1, "asr": 0.1, "acc": 0.9}))
    board(TrialEvent("complete", 0, {}, {"asr": 0.1, "acc": 0.9}))
    board.close()


def test_missing_package_is_told_before_anything_starts(monkeypatch):
    monkeypatch.setattr(tensorboard, "_find", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install 'nad-study\[tensorboard\]'"):
        StudyConfig.of(tensorboard=True)
    StudyConfig()

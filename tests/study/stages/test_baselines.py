"""Other defences beside the trials: what is run, what is recorded, what summary.json says of it."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Never

import numpy as np
import optuna
import pytest
from rich.console import Console
from studies import refused, summary, table
from torch import nn

from nad import data, defences, models
from nad.attacks import BadNets
from nad.defences import FineTuning, make
from nad.evaluation import Scores
from nad.models.base import DistillableModel
from nad.scenario import Scenario
from nad.training import TrainConfig
from nad.victim import VictimConfig, train_victim
from study.display.progress import Display
from study.engine.erase_task import Workload
from study.options.config import StudyConfig
from study.options.search import SearchOptions
from study.options.validation import BASELINES
from study.run import main
from study.stages.baselines import BaselineRun, baseline_results, count_runs, finished, plan, run_once
from study.stages.confirmation_results import Counts
from study.stages.repeats import Repeats, missing
from study.stages.workload import for_draw, make_workload

COUNTS = Counts(asr=90, acc=100)
SCORES = {"asr": 0.1, "acc": 0.8, "balanced_acc": 0.75, "acc_non_target": 0.79, "recovery_acc": 0.7}
RESULT = {**SCORES, "deeds": {"channels_pruned": 3}, "compute_seconds": 1.5}


def test_fine_tuning_is_no_baseline_for_it_is_a_control_among_the_trials() -> None:
    assert set(BASELINES) == set(defences.DEFENCES) - {"fine-tuning"}


def test_each_is_run_once_at_every_clean_fraction_and_draw_largest_first() -> None:
    runs = plan(["anp", "fine-pruning", "anp"], (0.01, 0.2), (1, 2))
    assert runs == [
        BaselineRun(name, f, draw) for draw in (1, 2) for f in (0.2, 0.01) for name in ("anp", "fine-pruning")
    ]
    assert len({run.key for run in runs}) == len(runs)


def test_a_run_whose_settings_have_changed_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = BaselineRun("fine-pruning", 0.1, 0).key

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Changed(defences.DEFENCES["fine-pruning"]):
        max_acc_drop: float = 0.04

    monkeypatch.setattr(defences, "DEFENCES", {**defences.DEFENCES, "fine-pruning": Changed})
    assert BaselineRun("fine-pruning", 0.1, 0).key != before


def test_what_the_record_holds_is_not_missing_and_what_diverged_is_not_finished() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    done, lost, left = plan(["anp"], (0.1, 0.2, 0.05), (0,))
    study.set_user_attr(done.key, RESULT)
    study.set_user_attr(lost.key, {"error": "anp diverged"})
    assert missing(study, [done, lost, left]) == [left]
    assert finished(study, [done, lost, left]) == [done]
    search = SearchOptions(baselines=("anp",), clean_fractions=(0.1, 0.2, 0.05))
    assert count_runs(search, study) == {"runs": 3, "done": 2}
    assert count_runs(dataclasses.replace(search, baseline_fractions=(0.05,)), study) == {"runs": 1, "done": 0}
    assert count_runs(SearchOptions(), study) is None


def test_results_are_controls_with_test_scores_and_those_that_were_lost() -> None:
    recorded = {
        "seconds": {},
        BaselineRun("anp", 0.1, 0).key: RESULT,
        BaselineRun("anp", 0.1, 1).key: {**RESULT, "asr": 0.2},
        BaselineRun("anp", 0.1, 2).key: {**RESULT, "asr": 0.4},
        BaselineRun("anp", 0.1, 3).key: {"error": "anp diverged"},
        BaselineRun("anp", 0.05, 0).key: {"error": "anp diverged"},
        BaselineRun("fine-pruning", 0.1, 0).key: RESULT,
        BaselineRun("fine-pruning", 0.9, 0).key: RESULT,
    }
    found = baseline_results(recorded, (0.1, 0.05), COUNTS)
    assert [(one["name"], one["params"], one["number"]) for one in found.controls] == [
        ("fine-pruning", {"clean_fraction": 0.1}, None),
        ("anp", {"clean_fraction": 0.1}, None),
    ]
    pruning, anp = found.controls
    assert anp["validation"] == {"acc": 0.8, "balanced_acc": 0.75, "asr": 0.1}
    assert (anp["test"]["asr"], anp["test"]["seeds"], anp["test"]["diverged"]) == (pytest.approx(0.3), 2, 1)
    assert anp["twin"] is None
    assert anp["settings"]["threshold"] == make("anp").threshold
    assert pruning["test"] is None
    assert pruning["deeds"] == {"channels_pruned": 3}
    assert found.lost == [{"name": "anp", "clean_fraction": 0.05, "error": "anp diverged"}]
    assert baseline_results({}, (0.1,), COUNTS) == ([], [])


@pytest.fixture(scope="module")
def scenario(image_folder: Path, cache: Path) -> Scenario:
    images = data.load("folder", cache_dir=cache, data_dir=image_folder, image_size=16)
    return Scenario(images, BadNets(poison_rate=0.3), seed=0)


@pytest.fixture(scope="module")
def workload(scenario: Scenario, cache: Path) -> Workload:
    config = StudyConfig.of(dataset="folder", model="wrn-10-1", clean_fractions=(0.1, 0.2))
    victim = train_victim(scenario, "wrn-10-1", VictimConfig(epochs=2, batch_size=32), cache=cache)
    return make_workload(config, scenario, victim, scenario.validation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quick(FineTuning):
    name = "quick"
    tuning: TrainConfig = TrainConfig(epochs=1)  # noqa: RUF009 - frozen


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defences, "DEFENCES", {"quick": Quick})


def without_time(result):
    return {name: value for name, value in result.items() if name != "compute_seconds"}


def test_a_run_depends_on_its_defender_alone_and_needs_no_teacher(
    quick: None, workload: Workload, scenario: Scenario
) -> None:
    assert workload.teachers == {}
    blocks = {0: workload, 1: for_draw(workload, scenario, 0.2, 1)}
    before = {name: values.copy() for name, values in workload.victim.items()}
    first = run_once(("quick", 0.2, 0), blocks)
    assert set(Scores._fields) < first.keys()
    assert without_time(run_once(("quick", 0.2, 0), blocks)) == without_time(first)
    assert all(np.array_equal(before[name], workload.victim[name]) for name in before)
    json.dumps(first)


def test_a_defence_that_diverges_is_a_result(quick: None, workload: Workload) -> None:
    broken = {**workload.victim, "fc.weight": np.full_like(workload.victim["fc.weight"], np.nan)}
    found = run_once(("quick", 0.1, 0), {0: dataclasses.replace(workload, victim=broken)})
    assert found.keys() == {"error"}
    assert "diverged" in found["error"]


def test_a_defence_that_fails_otherwise_ends_neither_the_others_nor_the_study(
    quick: None, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(self, model, site) -> Never:
        raise KeyError("a mistake of its author's")

    monkeypatch.setattr(Quick, "change", change)
    blocks, study = {0: workload}, optuna.create_study(directions=["minimize", "maximize"])
    failed = run_once(("quick", 0.2, 0), blocks)
    assert failed == {"failed": 'KeyError: "a mistake of its author\'s"'}
    runs = plan(["quick"], (0.2, 0.1), (0,))

    def run_tasks(function, arguments, *, on_done, **options) -> None:
        for index, result in enumerate((failed, RESULT)):
            on_done(index, result)

    monkeypatch.setattr("study.engine.tasks.run_tasks", run_tasks)
    shown, ended = io.StringIO(), []
    display = Display(Console(file=shown, width=500))
    repeats = Repeats(study, (1, 0.0), display, lambda: ended.append(1))
    repeats.run("baselines", run_once, runs, lambda _runs: blocks)
    assert missing(study, runs) == runs[:1], "the next command tries it again"
    assert finished(study, runs) == runs[1:]
    assert "the baseline quick at 0.2 clean data, draw 0, failed: KeyError: " in shown.getvalue()
    assert len(ended) == 1


def test_unknown_baseline_is_refused(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refused(capsys, *options, "--baselines", "fine-prunning", "--output", str(tmp_path))
    assert "unknown baseline 'fine-prunning'; did you mean 'fine-pruning'? known: anp" in sentence
    assert list(tmp_path.iterdir()) == []


def test_baseline_that_cannot_defend_the_model_is_refused_before_anything_is_trained(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Chain(DistillableModel):
        distillation_layers = ("body",)

        def __init__(self, classes: int) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
            self.fc = nn.Linear(8, classes)

        def forward(self, x):
            return self.fc(self.body(x).mean(dim=(2, 3)))

    monkeypatch.setattr(models, "MODELS", {"chain": Chain})
    places = "--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "out")
    sentence = refused(capsys, *options, "--model", "chain", "--baselines", "fine-pruning", "anp", *places)
    assert "adversarial neuron pruning works on batch norm, and Chain has none" in sentence
    assert not (tmp_path / "cache" / "models").exists()


@pytest.mark.usefixtures("ray_started")
def test_a_finished_study_takes_baselines_in_once_and_confirms_them(
    finished: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: a study without them, run again with them and with a confirmation, and then once more."""
    shutil.copytree(finished, tmp_path / "s")
    command = [*options, "--trials", "6", "--output", str(tmp_path), "--name", "s", "--baselines", "fine-pruning"]
    rows = table(tmp_path / "s")
    assert main([*command, "--confirm", "1"]) == 0
    parts = "confirmation", "confirmation of baselines", "confirmation on a clean model"
    said = capsys.readouterr().out
    began = [said.index(f"\n{part}: ") for part in parts]
    assert began == sorted(began)
    found = summary(tmp_path / "s")
    ours = [control for control in found["controls"] if control["name"] == "fine-pruning"]
    assert [control["params"]["clean_fraction"] for control in ours] == [0.1, 0.2]
    assert all(control["test"]["seeds"] == 1 and control["deeds"]["channels"] == 64 for control in ours)
    assert found["seconds"]["baselines"] > 0
    assert found["lost_baselines"] == []
    assert found["baselines"] == {"runs": 2, "done": 2}
    assert table(tmp_path / "s").equals(rows), "no trial was added or changed"
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "Its difference to each control on as much clean data" in page
    assert main(command) == 0
    assert "baselines:" not in capsys.readouterr().out, "nothing is run twice"
    again = summary(tmp_path / "s")
    assert [control for control in again["controls"] if control["name"] == "fine-pruning"] == ours


def test_every_baseline_can_be_asked_for() -> None:
    assert StudyConfig.of(baselines=BASELINES).search.baselines == BASELINES
    assert plan(SearchOptions().baselines, (0.1,), (0,)) == []

"""What a worker does, without the engine: the same functions that run in a worker process."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nad import data, models
from nad.attacks import BadNets
from nad.context import TrainContext
from nad.erasure import PRESETS, distil
from nad.errors import EraseDiverged
from nad.evaluation import evaluate
from nad.models.base import DistillableModel
from nad.scenario import Scenario
from nad.seeds import generator
from nad.victim import VictimConfig, train_victim
from search_spaces import Point
from study.engine import erase_task
from study.engine.erase_task import (
    Origin,
    Workload,
    as_arrays,
    erase_again,
    make_teacher_weights,
    measure,
    run_trial,
    teacher_or_why,
)
from study.options.config import StudyConfig
from study.stages import baselines
from study.stages.confirmation import run_once
from study.stages.workload import for_draw, make_workload

CPU = torch.device("cpu")
CONFIG = StudyConfig.of(dataset="folder", model="wrn-10-1", clean_fractions=(0.1, 0.2), precision="float32")
QUICK = dataclasses.replace(PRESETS["code"], epochs=2)


@pytest.fixture(scope="module")
def scenario(image_folder: Path, cache: Path) -> Scenario:
    images = data.load("folder", cache_dir=cache, data_dir=image_folder, image_size=16)
    return Scenario(images, BadNets(poison_rate=0.3), seed=0)


@pytest.fixture(scope="module")
def workload(scenario: Scenario, cache: Path) -> Workload:
    victim = train_victim(scenario, "wrn-10-1", VictimConfig(epochs=2, batch_size=32), cache=cache)
    block = make_workload(CONFIG, scenario, victim, scenario.validation)
    teachers = {fraction: make_teacher_weights((0, fraction), {0: block}) for fraction in (0.1, 0.2)}
    return dataclasses.replace(block, teachers=teachers)


LAYERS = ("group1", "group2", "group3")


def config_of(erase=QUICK, *, fraction=0.1, seed=1, draw=0, **shared) -> dict[str, Any]:
    return {"setting": Point(fraction, erase).values(LAYERS), "draw": draw, "seed": seed, "shared": shared}


def run(workload, erase=QUICK, *, fraction=0.1, seed=1) -> list[dict]:
    reports: list[dict] = []
    run_trial(config_of(erase, fraction=fraction, seed=seed), workload, reports.append)
    return reports


def test_trial_reports_each_epoch_and_then_the_final_scores(workload: Workload) -> None:
    *epochs, final = run(workload)
    assert [report["epoch"] for report in epochs] == [1, 2]
    assert final["final"] is True
    assert {"asr", "acc", "acc_non_target", "recovery_acc", "compute_seconds"} <= final.keys()
    assert "final" not in epochs[0]


def without_times(reports):
    return [{name: value for name, value in report.items() if "seconds" not in name} for report in reports]


def test_trial_depends_on_its_parameters_and_seed_alone(workload: Workload) -> None:
    first = without_times(run(workload))
    run(workload, seed=2)
    torch.manual_seed(123)
    assert without_times(run(workload)) == first
    assert without_times(run(workload, seed=2)) != first
    assert without_times(run(workload, fraction=0.2)) != first


def test_first_trial_of_a_draw_makes_its_teacher_and_the_next_one_scores_alike_with_it(
    workload: Workload, scenario: Scenario
) -> None:
    other = for_draw(workload, scenario, 0.2, 3)
    holdout = other.holdout_images, other.holdout_labels
    first, second, tuned = [], [], []
    run_trial(config_of(draw=3, holdout=holdout), workload, first.append)
    kept, *scores = first
    assert kept.keys() == {"kept"}
    run_trial(config_of(draw=3, holdout=holdout, teacher=kept["kept"]), workload, second.append)
    assert without_times(second) == without_times(scores)
    assert not any("kept" in report for report in second)
    run_trial(config_of(QUICK.twin(), draw=3, holdout=holdout), workload, tuned.append)
    assert not any("kept" in report for report in tuned), "fine-tuning needs no teacher"
    fraction, made = kept["kept"]
    assert fraction == 0.1
    whole = dataclasses.replace(other, teachers={})
    wanted = make_teacher_weights((3, 0.1), {3: whole})
    assert all(np.array_equal(made[name], wanted[name]) for name in wanted)
    assert measure(Point(0.1, QUICK), 1, dataclasses.replace(whole, teachers={0.1: made}))["asr"] == scores[-1]["asr"]
    assert without_times(scores) != without_times(run(workload)), "another defender has other images"


def test_trial_leaves_the_shared_block_as_it_is(workload: Workload) -> None:
    before = {name: values.copy() for name, values in workload.victim.items()}
    teacher = {name: values.copy() for name, values in workload.teachers[0.1].items()}
    run(workload)
    assert all(np.array_equal(before[name], workload.victim[name]) for name in before)
    assert all(np.array_equal(teacher[name], workload.teachers[0.1][name]) for name in teacher)


def test_block_may_be_read_only_as_ray_makes_it(workload: Workload) -> None:
    frozen = {
        field.name: value.copy()
        for field in dataclasses.fields(workload)
        if isinstance(value := getattr(workload, field.name), np.ndarray)
    }
    for values in frozen.values():
        values.setflags(write=False)
    assert without_times(run(dataclasses.replace(workload, **frozen))) == without_times(run(workload))


def test_teachers_of_different_fractions_differ(workload: Workload) -> None:
    small, large = workload.teachers[0.1], workload.teachers[0.2]
    assert not np.array_equal(small["conv1.weight"], large["conv1.weight"])
    assert not np.array_equal(small["conv1.weight"], workload.victim["conv1.weight"])


def test_trial_that_diverges_raises_and_reports_no_final_scores(workload: Workload) -> None:
    broken = {**workload.victim, "fc.weight": np.full_like(workload.victim["fc.weight"], np.nan)}
    reports: list[dict] = []
    config = config_of()
    with pytest.raises(EraseDiverged):
        run_trial(config, dataclasses.replace(workload, victim=broken), reports.append)
    assert not any(report.get("final") for report in reports)


def test_twin_is_the_same_erase_with_every_beta_zero_to_the_last_bit(workload: Workload) -> None:
    """What a point and its twin differ by is distillation and nothing else: not images, batches or teacher."""
    zero = dataclasses.replace(QUICK, betas=(0.0, 0.0, 0.0))
    scores = [measure(Point(0.1, erase), 3, workload) for erase in (zero, QUICK.twin())]
    assert without_times(scores[:1]) == without_times(scores[1:])
    assert scores[0]["loss"] != measure(Point(0.1, QUICK), 3, workload)["loss"]


def test_trial_and_teacher_compute_in_the_studys_precision(workload: Workload) -> None:
    half = dataclasses.replace(workload, precision="bfloat16")
    point = Point(0.1, QUICK)
    scores = [measure(point, 3, block) for block in (workload, half, half)]
    assert without_times(scores[1:2]) == without_times(scores[2:])
    assert scores[0]["loss"] != scores[1]["loss"] == pytest.approx(scores[0]["loss"], rel=0.1)
    teacher = make_teacher_weights((0, 0.1), {0: half})
    assert not np.array_equal(teacher["conv1.weight"], workload.teachers[0.1]["conv1.weight"])


def test_another_draw_is_another_defender(workload: Workload, image_folder: Path, cache: Path) -> None:
    images = data.load("folder", cache_dir=cache, data_dir=image_folder, image_size=16)
    scenario = Scenario(images, BadNets(poison_rate=0.3), seed=0)
    other = scenario.holdout(0.2, draw=1)
    assert not torch.equal(other.images, scenario.holdout(0.2).images)
    assert torch.equal(other.images, scenario.holdout(0.2, draw=1).images)
    assert torch.equal(other.images[: len(scenario.holdout(0.1))], scenario.holdout(0.1, draw=1).images)
    assert set(other.labels.bincount().tolist()) == {len(other) // 4}
    same_images = dataclasses.replace(workload, draw=1)
    for block in (for_draw(workload, scenario, 0.1, 1), same_images):
        teacher = make_teacher_weights((1, 0.1), {1: block})
        assert not np.array_equal(teacher["conv1.weight"], workload.teachers[0.1]["conv1.weight"])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"seed": 2},
        {"cutout": 9},
        {"batch_size": 16},
        {"fraction": 0.2},
        {"draw": 1},
        {"flip": False},
        {"precision": "bfloat16"},
        {"teacher": 1},
    ],
    ids=str,
)
def test_what_a_worker_remembers_changes_no_score(
    workload: Workload, image_folder: Path, cache: Path, change: Any
) -> None:
    """A worker's memory of the teacher's attention is for the very same batches: whatever alters them is asked anew."""
    fraction, seed = change.get("fraction", 0.1), change.get("seed", 1)
    erase = dataclasses.replace(QUICK, **{name: change[name] for name in ("cutout", "batch_size") if name in change})
    others = {name: change[name] for name in ("flip", "precision") if name in change}
    block = dataclasses.replace(workload, **others)
    if "draw" in change:
        images = data.load("folder", cache_dir=cache, data_dir=image_folder, image_size=16)
        block = for_draw(block, Scenario(images, BadNets(poison_rate=0.3), seed=0), 0.2, change["draw"])
    if "teacher" in change:
        block = dataclasses.replace(block, teachers={0.1: workload.teachers[0.2]})
    point = Point(fraction, erase)
    erase_task._memory.cache_clear()
    alone = measure(point, seed, block)
    erase_task._memory.cache_clear()
    run(workload)
    assert without_times([measure(point, seed, block)]) == without_times([alone])
    assert erase_task._memory.cache_info().currsize == (2 if change else 1)


def test_trial_run_again_gives_its_scores_to_the_last_bit_and_the_model_that_has_them(workload: Workload) -> None:
    *_, final = run(workload, seed=4)
    weights, scores = erase_again((Point(0.1, QUICK), 4), workload)
    assert without_times([{**scores, "final": True}]) == without_times([final])
    network = workload.network(weights, torch.device("cpu"))
    assert evaluate(network, workload.eval_set())._asdict().items() <= scores.items()


def test_each_task_tells_how_far_it_is(workload: Workload) -> None:
    point, blocks = Point(0.1, QUICK), {0: workload}
    told = {"teacher": [], "fresh run": [], "again": [], "baseline": []}

    def listen(name):
        return lambda done, total: told[name].append((done, total))

    teacher_or_why((0, 0.1), blocks, listen("teacher"))
    run_once((0, point), blocks, listen("fresh run"))
    erase_again((point, 1), workload, listen("again"))
    baselines.run_once(("fine-tuning", 0.1, 0), blocks, listen("baseline"))
    long = [(epoch, 10) for epoch in range(1, 11)]
    assert told == {"teacher": long, "fresh run": [(1, 2), (2, 2)], "again": [(1, 2), (2, 2)], "baseline": long}


def test_patience_looks_at_validation_images_whatever_the_eval_set_is(workload: Workload) -> None:
    """A confirmation sits the test: stopping by it would tune on it."""
    patient = Point(0.1, dataclasses.replace(QUICK, epochs=4, patience=1))
    assert np.array_equal(workload.watched_images, workload.clean_images[: len(workload.watched_images)])
    never_right = np.full_like(workload.watched_labels, -1)
    hopeless = dataclasses.replace(workload, watched_labels=never_right)
    assert measure(patient, 1, hopeless)["epochs_run"] == 2
    eval_set_elsewhere = dataclasses.replace(workload, clean_labels=(workload.clean_labels + 1) % 4)
    *epochs, _final = run(workload, patient.erase)
    assert measure(patient, 1, eval_set_elsewhere)["epochs_run"] == len(epochs)
    network = workload.network(workload.victim, torch.device("cpu"))
    right = evaluate(network, workload.eval_set().subset(len(never_right))).acc
    assert eval_set_elsewhere.watch(torch.device("cpu"))(1, network) == right > 0


@pytest.fixture(scope="module")
def taught_by_another(workload: Workload, image_folder: Path, cache: Path) -> Workload:
    """The same block with teachers of a wider network, backdoored by the same attack."""
    images = data.load("folder", cache_dir=cache, data_dir=image_folder, image_size=16)
    scenario = Scenario(images, BadNets(poison_rate=0.3), seed=0)
    other = train_victim(scenario, "wrn-10-2", VictimConfig(epochs=1, batch_size=32), cache=cache)
    block = dataclasses.replace(workload, teachers={}, teachers_origin=Origin("wrn-10-2", as_arrays(other.state)))
    return dataclasses.replace(block, teachers={0.1: make_teacher_weights((0, 0.1), {0: block})})


def test_teacher_of_another_architecture_is_made_from_its_own_victim(
    workload: Workload, taught_by_another: Workload
) -> None:
    start, teacher = taught_by_another.origin.weights, taught_by_another.teachers[0.1]
    assert {name: values.shape for name, values in teacher.items()} == {n: values.shape for n, values in start.items()}
    assert not np.array_equal(teacher["conv1.weight"], start["conv1.weight"])
    assert teacher["group1.0.conv1.weight"].shape != workload.victim["group1.0.conv1.weight"].shape
    assert workload.origin == Origin("wrn-10-1", workload.victim)


def test_erase_by_a_teacher_of_another_architecture_is_another_erase_of_the_victim(
    workload: Workload, taught_by_another: Workload
) -> None:
    point = Point(0.1, QUICK)
    erase_task._memory.cache_clear()
    weights, scores = erase_again((point, 1), taught_by_another)
    assert {name: values.shape for name, values in weights.items()} == {
        name: values.shape for name, values in workload.victim.items()
    }
    assert scores["loss"] != measure(point, 1, workload)["loss"]
    from_memory = measure(point, 1, taught_by_another)
    assert without_times([from_memory]) == without_times([scores])
    assert erase_task._memory.cache_info().hits == 1


def test_layers_of_other_names_and_maps_of_another_size_are_paired_in_a_study(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`layer2` to `layer4` of the teacher have half the width of the maps of `group1` to `group3`."""
    monkeypatch.setitem(models.MODELS, "tiny-resnet", TinyResNet)
    teacher = as_arrays(models.make("tiny-resnet", 4, generator(0)).state_dict())
    block = dataclasses.replace(workload, teachers={0.1: teacher}, teachers_origin=Origin("tiny-resnet", teacher))
    assert block.pairs == {"group1": "layer2", "group2": "layer3", "group3": "layer4"}
    erase_task._memory.cache_clear()
    loss = measure(Point(0.1, QUICK), 1, block)["loss"]
    student, taught = (
        network.train() for network in (workload.network(workload.victim, CPU), block.teacher_network(teacher, CPU))
    )
    distil(
        student,
        taught,
        workload.holdout(0.1),
        QUICK,
        TrainContext(flip=True, generator=generator(1, "erase")),
        pairs=block.pairs,
    )
    again, _scores = erase_task.erase_victim(Point(0.1, QUICK), 1, block)
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), again.parameters(), strict=True))
    assert loss != measure(Point(0.1, QUICK.twin()), 1, block)["loss"]


class TinyResNet(DistillableModel):
    """The layers and the map sizes of a residual network, with three channels."""

    distillation_layers = ("layer1", "layer2", "layer3", "layer4")

    def __init__(self, classes) -> None:
        super().__init__()
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            torch.nn.Conv2d(3, 3, 3, stride, 1) for stride in (1, 2, 2, 2)
        )
        self.linear = torch.nn.Linear(3, classes)

    def forward(self, x):
        return self.linear(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


def test_teacher_that_diverges_is_an_error_of_the_runs_that_need_it(workload: Workload) -> None:
    broken = {**workload.victim, "fc.weight": np.full_like(workload.victim["fc.weight"], np.nan)}
    why = teacher_or_why((0, 0.1), {0: dataclasses.replace(workload, victim=broken)})
    assert why.startswith("the teacher's fine-tuning diverged")
    block = dataclasses.replace(workload, teachers={0.2: workload.teachers[0.2]}, lost_teachers={0.1: why})
    assert run_once((1, Point(0.1, QUICK)), {1: block}) == {"error": why}
    assert "error" not in run_once((1, Point(0.2, QUICK)), {1: block})

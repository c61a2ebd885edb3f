import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from attention_oracle import DISTANCES, numpy_map
from bands import make_images

from nad import models
from nad.attention import CONVENTIONS
from nad.checkpoints import copy_state
from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.erasure import PRESETS, TEACHER, EraseConfig, distil, make_teacher
from nad.errors import ConfigError, EraseDiverged
from nad.map_memory import MapMemory
from nad.seeds import generator
from nad.training import TrainConfig, described, train

QUICK = EraseConfig(epochs=2, schedule="code", batch_size=32)


def model(seed: int = 0) -> torch.nn.Module:
    return models.make("wrn-10-1", 4, generator(seed))


def run(config, *, student=None, teacher=None, seed=0, **options):
    student = student or model()
    result = distil(
        student,
        teacher or model(1),
        make_images(64, 0),
        config,
        TrainContext(flip=True, generator=generator(seed)),
        **options,
    )
    return student, result


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    "config", [QUICK.twin(), dataclasses.replace(QUICK, betas=(0.0, 0.0, 0.0))], ids=["no layers", "zero betas"]
)
def test_beta_zero_is_fine_tuning(config: Any) -> None:
    fine_tuned = model()
    plain = TrainConfig(epochs=2, schedule="code", batch_size=32)
    for _end in train(fine_tuned, make_images(64, 0), plain, TrainContext(flip=True, generator=generator(0))):
        pass
    assert same(run(config)[0], fine_tuned)


def test_a_beta_of_zero_equals_leaving_the_layer_out() -> None:
    only = dataclasses.replace(QUICK, layers=("group2",), betas=(700.0,))
    zeros = dataclasses.replace(QUICK, betas=(0.0, 700.0, 0.0))
    assert same(run(only)[0], run(zeros)[0])


@pytest.mark.parametrize("layer", ["group1", "group2", "group3"])
@pytest.mark.parametrize("change", [{}, {"operator": "max"}, {"power": 1.0}, {"convention": "paper"}])
def test_every_layer_and_setting_changes_the_student(layer: str, change: Any) -> None:
    config = dataclasses.replace(QUICK, epochs=1, layers=(layer,), betas=(300.0,), **change)
    distilled = run(config)[0]
    assert not same(distilled, run(config.twin())[0])
    if change:
        published = dataclasses.replace(QUICK, epochs=1, layers=(layer,), betas=(300.0,))
        assert not same(distilled, run(published)[0])


def test_distillation_pulls_the_students_attention_to_the_teachers() -> None:
    from nad.attention import attention_distance, attention_map
    from nad.augment import to_input
    from nad.models.taps import tap

    teacher = model(1)
    inputs = to_input(make_images(64, 0).images, torch.device("cpu"))

    def distance(student: torch.nn.Module) -> float:
        with tap(student.eval(), ("group3",)) as ours, tap(teacher.eval(), ("group3",)) as theirs, torch.no_grad():
            student(inputs), teacher(inputs)
        return attention_distance(attention_map(ours["group3"]), attention_map(theirs["group3"])).item()

    config = dataclasses.replace(QUICK, epochs=4, layers=("group3",), betas=(5000.0,), cutout=0)
    distilled, plain = run(config, teacher=teacher)[0], run(config.twin(), teacher=teacher)[0]
    assert distance(distilled) < 0.5 * distance(plain)


def test_teacher_is_unchanged_by_distillation() -> None:
    teacher = model(1).train()
    before = copy_state(teacher)
    run(QUICK, teacher=teacher)
    after = teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not teacher.training


TO_DEEPER = {"group1": "group2", "group2": "group3"}
"""Layers of a teacher with maps half as wide as the student's."""


def test_a_pair_of_layers_with_unequal_maps_is_distilled() -> None:
    config = dataclasses.replace(QUICK, layers=("group2",), betas=(700.0,))
    paired = run(config, pairs=TO_DEEPER)[0]
    assert not same(paired, run(config)[0])
    assert not same(paired, run(config.twin())[0])


def test_a_memory_serves_a_student_of_another_architecture() -> None:
    """The teacher's maps are stored as large as it makes them; each student brings them to its own size."""
    memory = MapMemory(("group2", "group3"), most_bytes=10**9)
    first = dataclasses.replace(QUICK, layers=("group2",), betas=(700.0,))
    both = dataclasses.replace(QUICK, layers=("group1", "group2"), betas=(200.0, 700.0))
    assert teacher_passes(memory, first, both, pairs=TO_DEEPER) == 2 * 2


def teacher_passes(memory, *configs, **options) -> int:
    """How often a teacher runs in these erases; each has to end as it does without a memory."""
    teacher, passes = model(1), []
    teacher.register_forward_pre_hook(lambda _module, _inputs: passes.append(1))
    for config in configs:
        assert same(run(config, teacher=teacher, memory=memory, **options)[0], run(config, **options)[0])
    return len(passes)


def test_a_memory_spares_the_teacher_and_changes_nothing() -> None:
    other_betas = dataclasses.replace(QUICK, layers=("group1", "group3"), betas=(90.0, 800.0))
    longer = dataclasses.replace(QUICK, epochs=3)
    memory = MapMemory(("group1", "group2", "group3"), most_bytes=10**9)
    assert teacher_passes(memory, dataclasses.replace(QUICK, layers=("group2",), betas=(700.0,))) == 2 * 2
    assert teacher_passes(memory, other_betas, QUICK, QUICK.twin()) == 0
    assert teacher_passes(memory, longer) == 2


def test_a_memory_keeps_each_way_to_measure_attention_apart() -> None:
    memory = MapMemory(("group1", "group2", "group3"), most_bytes=10**9)
    squares = dataclasses.replace(QUICK, power=4.0)
    largest = dataclasses.replace(QUICK, operator="max")
    assert teacher_passes(memory, QUICK, squares, largest) == 3 * 2 * 2
    assert teacher_passes(memory, QUICK, squares, largest) == 0


def test_a_full_memory_keeps_the_first_batches() -> None:
    pixels = 16 * 16 + 8 * 8 + 4 * 4
    memory = MapMemory(("group1", "group2", "group3"), most_bytes=3 * 32 * pixels * 4 + 1)
    assert teacher_passes(memory, QUICK) == 4
    assert memory.bytes == 3 * 32 * pixels * 4
    assert teacher_passes(memory, QUICK) == 1


def test_batchnorm_sees_each_batch_once() -> None:
    student = model()
    run(QUICK, student=student)
    assert student.bn.num_batches_tracked == 2 * 2


def test_same_seed_erases_bit_identically_whatever_ran_before() -> None:
    first = run(QUICK)[0]
    torch.rand(7)
    assert same(first, run(QUICK)[0])
    assert not same(first, run(QUICK, seed=1)[0])


def test_watching_does_not_change_the_student() -> None:
    def watch(_epoch, student) -> float:
        student.eval()
        return 0.0

    assert same(run(QUICK)[0], run(QUICK, watch=watch)[0])


def test_patience_stops_after_epochs_without_a_better_accuracy() -> None:
    accuracies = iter([0.5, 0.6, 0.6, 0.55, 0.9, 0.9])
    config = dataclasses.replace(QUICK.twin(), epochs=6, patience=2)
    result = run(config, watch=lambda _epoch, _student: next(accuracies))[1]
    assert result.epochs == 4
    assert len(result.losses) == 4


def test_patience_without_a_watch_is_refused() -> None:
    with pytest.raises(ConfigError, match="watch"):
        run(dataclasses.replace(QUICK, patience=2))


def test_divergence_is_an_error_not_a_score() -> None:
    broken = model()
    torch.nn.init.constant_(broken.fc.weight, torch.nan)
    with pytest.raises(EraseDiverged, match="the erase diverged: its loss was nan in epoch 1; a lower lr or beta"):
        run(QUICK, student=broken)
    with pytest.raises(EraseDiverged, match="the teacher's fine-tuning diverged"):
        make_teacher(broken, make_images(64, 0), TrainContext(flip=True, generator=generator(0)))


def test_teacher_is_fine_tuned_with_the_papers_settings() -> None:
    assert described(TEACHER) == {
        "epochs": 10,
        "lr": 0.1,
        "schedule": "paper",
        "batch_size": 64,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-4,
        "cutout": 9,
    }
    teacher, tuned = model(), model()
    make_teacher(teacher, make_images(64, 0), TrainContext(flip=True, generator=generator(0)))
    for _end in train(tuned, make_images(64, 0), TrainConfig(), TrainContext(flip=True, generator=generator(0))):
        pass
    assert same(teacher, tuned)
    assert not same(teacher, model())


def test_presets_are_the_published_settings() -> None:
    assert (PRESETS["paper"].epochs, PRESETS["paper"].schedule, PRESETS["paper"].cutout) == (10, "paper", 9)
    assert (PRESETS["code"].epochs, PRESETS["code"].schedule, PRESETS["code"].cutout) == (20, "code", 3)
    for name in ("paper", "code"):
        preset = PRESETS[name]
        assert (preset.lr, preset.batch_size, preset.momentum, preset.weight_decay) == (0.1, 64, 0.9, 1e-4)
    for preset in PRESETS.values():
        assert preset.betas == (500.0, 1000.0, 1000.0)


def test_backdoorbench_preset_is_its_configured_fine_tuning() -> None:
    """Its config/defense/ft/config.yaml: plain SGD, epochs 100, batch_size 256, lr 0.01, CosineAnnealingLR, wd 5e-4."""
    preset = PRESETS["backdoorbench"]
    assert (preset.epochs, preset.batch_size, preset.lr, preset.schedule) == (100, 256, 0.01, "cosine")
    assert (preset.momentum, preset.nesterov, preset.weight_decay, preset.cutout) == (0.9, False, 5e-4, 0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"betas": (1.0,)}, "one beta per layer: got 1 betas for layers group1, group2, group3"),
        ({"betas": (1.0, -2.0, 0.0)}, "beta of group2 must be in .*, got -2"),
        (
            {"layers": ("group3", "group1", "group3")},
            "the layer 'group3' is given more than once; name it once, with one beta",
        ),
        ({"power": 0.0}, "power"),
        ({"operator": "mena"}, "did you mean 'mean'"),
        ({"convention": "papers"}, "did you mean 'paper'"),
        ({"patience": 0}, "patience"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        EraseConfig(**settings)


def test_unknown_layer_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown layer 'group4'"):
        run(dataclasses.replace(QUICK, layers=("group4",), betas=(1.0,)))


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("operator", "power"), [("sum", 2.0), ("mean", 1.0), ("max", 3.0)])
def test_the_loss_is_what_numpy_makes_of_features_and_logits(operator: str, power: float, convention: str) -> None:
    """Cross-entropy plus the sum of beta times distance, of one batch; labels are told by brightness."""
    dark = torch.randint(0, 60, (24, 3, 16, 16), dtype=torch.uint8, generator=generator(0))
    labels = torch.arange(24) % 2
    images = LabelledImages(dark + 150 * labels.view(-1, 1, 1, 1).to(torch.uint8), labels)
    betas = {"group1": 300.0, "group3": 70.0}
    student, teacher = model(), model(1)
    seen: dict[str, np.ndarray] = {}

    def keep(name):
        def hook(_module, given, made) -> None:
            seen[f"into {name}"] = given[0].detach().numpy().copy()
            seen[name] = made.detach().double().numpy().copy()

        return hook

    student.register_forward_hook(keep("logits"))
    for layer in betas:
        student.get_submodule(layer).register_forward_hook(keep(f"student {layer}"))
        teacher.get_submodule(layer).register_forward_hook(keep(f"teacher {layer}"))
    config = EraseConfig(
        layers=tuple(betas),
        betas=tuple(betas.values()),
        operator=operator,
        power=power,
        convention=convention,
        epochs=1,
        batch_size=24,
        cutout=0,
    )
    result = distil(student, teacher, images, config, TrainContext(flip=True, generator=generator(0)))

    brightest = seen["into logits"].max(axis=(1, 2, 3))
    told = (brightest > brightest.mean()).astype(int)
    assert sorted(told) == sorted(labels.tolist())
    logits = seen["logits"]
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(24), told])
    for layer, beta in betas.items():
        maps = [seen[f"{whose} {layer}"] for whose in ("student", "teacher")]
        ours, theirs = (numpy_map(values, power, operator, values.shape[2:]) for values in maps)
        expected += beta * DISTANCES[convention](ours, theirs)
    assert result.losses == pytest.approx((expected,), rel=1e-6)

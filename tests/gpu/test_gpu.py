"""Tests on a GPU; skipped without one."""

import warnings

import pytest
import torch

from nad import models
from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.erasure import EraseConfig, distil
from nad.evaluation import accuracy
from nad.training import TrainConfig, train
from study.engine import session, tasks
from study.engine.erase_task import granted_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")

MODEL = "wrn-10-1"


@pytest.fixture
def data() -> LabelledImages:
    """Three easy classes: a colour each, under noise."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(384) % 3
    images = torch.randint(0, 120, (384, 3, 32, 32), generator=draw, dtype=torch.uint8)
    images[torch.arange(384), labels] += 100
    return LabelledImages(images, labels)


def trained(data, device, *, precision):
    model = models.make(MODEL, 3, torch.Generator().manual_seed(0)).to(device)
    config, draws = TrainConfig(epochs=4, schedule="one-cycle"), torch.Generator().manual_seed(0)
    ends = train(model, data, config, TrainContext(flip=True, generator=draws, device=device, precision=precision))
    return model, [end.loss for end in ends]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_learns_what_a_cpu_learns(data: LabelledImages, precision: str) -> None:
    _, on_cpu = trained(data, torch.device("cpu"), precision="float32")
    model, on_gpu = trained(data, torch.device("cuda"), precision=precision)
    assert on_gpu == pytest.approx(on_cpu, abs=0.1)
    assert accuracy(model, data, device=torch.device("cuda")) > 0.95


def test_an_erase_waits_for_the_gpu_once_an_epoch(data: LabelledImages) -> None:
    device = torch.device("cuda")
    student, teacher = (models.make(MODEL, 3).to(device) for _ in range(2))
    config = EraseConfig(epochs=3)
    with warnings.catch_warnings(record=True) as waits:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            distil(student, teacher, data, config, TrainContext(flip=True, generator=torch.Generator(), device=device))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    steps = config.epochs * len(data) // config.batch_size
    found = [wait for wait in waits if "synchroniz" in str(wait.message)]
    assert len(found) <= config.epochs + 2 < steps, "one for each epoch's loss, two for the images on their way in"


def task_with_memory(size, _payload, _progress):
    device = torch.device(granted_device())
    held = torch.zeros(size, device=device)
    total = float(held.sum())
    del held
    torch.cuda.empty_cache()
    return str(device), total, torch.cuda.memory_reserved()


def test_two_tasks_share_a_gpu_and_give_its_memory_back() -> None:
    with session.ray_session(cpus=2):
        assert tasks.available_slots(1, 0.5) >= 2
        results = tasks.run_tasks(task_with_memory, [1_000_000] * 2, cpus=1, gpus=0.5)
    assert results == [("cuda:0", 0.0, 0)] * 2


def take_too_much(_argument, _payload, _progress) -> str:
    device = torch.device(granted_device())
    total = torch.cuda.get_device_properties(device).total_memory
    try:
        torch.empty(int(0.6 * total), dtype=torch.uint8, device=device)
    except torch.cuda.OutOfMemoryError:
        return "refused"
    return "granted"


def test_task_is_held_to_its_share_of_the_memory() -> None:
    with session.ray_session(cpus=1):
        assert tasks.run_tasks(take_too_much, [0], cpus=1, gpus=0.5) == ["refused"]

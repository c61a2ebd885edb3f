"""The load comes from faked readings: no test waits for a busy machine."""

import os
import time
from pathlib import Path

import pytest
import torch

from nad import threads
from nad.attacks.cl import pgd
from nad.checkpoints import Checkpoint
from nad.context import TrainContext
from nad.data.base import Dataset
from nad.erasure import make_teacher
from nad.evaluation import predict
from nad.models import make
from nad.seeds import generator
from nad.threads import Threads, Usage, following_load, read_usage
from nad.training import TrainConfig
from nad.work import run_here


class Machine:
    """Four cores and a clock under the test's control; the number of threads is only noted."""

    def __init__(self, monkeypatch) -> None:
        self.wall = self.own = self.idle = 100.0
        self.threads = 4
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.threads)
        monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(self, "threads", count))
        monkeypatch.setattr(time, "monotonic", lambda: self.wall)
        monkeypatch.setattr(time, "sleep", lambda seconds: self.passes(seconds, own=0.0, others=self.others))
        self.others = 0.0

    def read(self):
        return Usage(self.wall, self.own, self.idle)

    def passes(self, seconds, *, own, others) -> None:
        """own, others: cores kept busy by this process and by others."""
        self.wall += seconds
        self.own += own * seconds
        self.idle += max(0.0, 4 - own - others) * seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def four(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The same, as `following_load` finds it."""
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(Threads.__init__, "__defaults__", (machine.read,))
    return machine


def test_threads_follow_the_cores_that_nobody_else_uses(machine: Machine) -> None:
    chosen, found = Threads(4, machine.read), []
    for own, others in [(4.0, 0.0), (3.0, 2.0), (2.0, 2.0), (0.4, 7.0), (1.0, 0.0), (3.9, 0.1)]:
        machine.passes(3.0, own=own, others=others)
        chosen.before_step()
        found.append(machine.threads)
    assert found == [4, 3, 2, 1, 4, 4]
    assert chosen.steps == {4: 3, 3: 1, 2: 1, 1: 1}


def test_number_of_threads_stays_between_two_looks(machine: Machine) -> None:
    chosen = Threads(4, machine.read)
    machine.passes(threads.WINDOW_SECONDS / 2, own=0.5, others=8.0)
    chosen.before_step()
    assert machine.threads == 4


def test_first_look_chooses_before_the_first_step(machine: Machine) -> None:
    machine.others = 3.0
    Threads(4, machine.read).look()
    assert machine.threads == 1


def test_where_the_kernel_does_not_count_the_number_stays(machine: Machine) -> None:
    chosen = Threads(4, lambda: None)
    chosen.look()
    machine.passes(100.0, own=0.1, others=4.0)
    chosen.before_step()
    assert machine.threads == 4


def test_idle_time_is_that_of_the_cores_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {1, 10}, raising=False)
    monkeypatch.setattr(os, "sysconf", {"SC_CLK_TCK": 100}.get)
    counters = tmp_path / "stat"
    counters.write_text("cpu 1 2 3 900 9\ncpu0 1 2 3 500 5\ncpu1 1 2 3 100 50\ncpu10 1 2 3 150 0\nintr 5\n")
    found = read_usage(counters)
    assert found is not None
    assert found.idle == 3.0


@pytest.mark.parametrize("text", ["cpu0 1 0 0 0 0\n", "cpu7 1 0 0 50 0\n", ""], ids=["zeros", "other cores", "nothing"])
def test_counters_that_tell_nothing_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0}, raising=False)
    (tmp_path / "stat").write_text(text)
    assert read_usage(tmp_path / "stat") is None
    assert read_usage(tmp_path / "none") is None


def test_usage_counts_this_process_s_time() -> None:
    before = read_usage()
    if before is None:
        pytest.skip("this kernel does not count")
    busy = time.process_time()
    while time.process_time() < busy + 0.05:
        pass
    after = read_usage()
    assert after is not None
    assert after.own >= before.own + 0.05
    assert after.wall > before.wall


def test_number_of_threads_is_as_before_afterwards(four: Machine) -> None:
    with following_load() as outer, following_load() as inner:
        assert inner is outer
        four.others = 4.0
        outer.look()
        assert four.threads == 1
    assert four.threads == 4


def test_no_more_threads_than_the_quota_gives(four: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 1)
    with following_load():
        assert four.threads == 1


def test_training_follows_the_load_and_its_card_has_the_threads(four: Machine, dataset: Dataset) -> None:
    def work(_device, _progress):
        def busier(epoch, _epochs) -> None:
            four.passes(3.0, own=1.5, others=4.0 * (epoch == 1))

        network = make("wrn-10-1", 4, generator(0))
        make_teacher(
            network,
            dataset.test,
            TrainContext(flip=True, generator=generator(0), progress=busier),
            TrainConfig(epochs=3, batch_size=40),
        )
        return Checkpoint({}, {"seconds": 1.0})

    assert run_here(work, None, None).card == {"seconds": 1.0, "threads": {"1": 2, "4": 4}}


def test_loops_of_evaluation_and_crafting_follow_the_load(four: Machine, dataset: Dataset) -> None:
    network, images = make("wrn-10-1", 4, generator(0)), dataset.test.images[:2]
    inputs = images.float() / 255
    with following_load() as chosen:
        predict(network, dataset.test.images)
        pgd(network, inputs, dataset.test.labels[:2], torch.zeros_like(inputs), 0.1, 0.1, 3, lambda: None)
    assert chosen.steps == {4: 2 + 3}


def test_outside_the_driver_threads_stay_as_they_are_given(four: Machine, dataset: Dataset) -> None:
    four.threads = 2
    four.passes(3.0, own=0.1, others=8.0)
    predict(make("wrn-10-1", 4, generator(0)), dataset.test.images)
    assert four.threads == 2

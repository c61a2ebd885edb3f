import copy
import math
from typing import Any

import pytest
import torch
from bands import make_images

from nad import models
from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.errors import ConfigError
from nad.seeds import generator
from nad.training import SCHEDULES, TrainConfig, train


def fresh() -> torch.nn.Module:
    return models.make("wrn-10-1", 4, generator(0))


def run(model, config, seed=0, **options):
    return list(train(model, make_images(96, 0), config, TrainContext(flip=True, generator=generator(seed)), **options))


def test_training_learns() -> None:
    losses = [end.loss for end in run(fresh(), TrainConfig(epochs=4, schedule="one-cycle", cutout=0, batch_size=16))]
    assert losses[-1] < 0.6 * losses[0]


def test_same_seed_trains_bit_identically() -> None:
    config = TrainConfig(epochs=2)
    first, second, other = fresh(), fresh(), fresh()
    run(first, config), run(second, config), run(other, config, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.fc.weight, other.fc.weight)


class Drawing(torch.nn.Module):
    """Has dropout, and keeps a state other than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.drop, self.fc = fresh(), torch.nn.Dropout(), torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.drop(self.net(x)))

    def get_extra_state(self):
        return {"a note": 1}

    def set_extra_state(self, state) -> None:
        pass


def test_layers_that_draw_follow_the_generator_and_leave_torchs_own_alone() -> None:
    model, config, state = Drawing(), TrainConfig(epochs=3), torch.get_rng_state()
    losses = []
    for before in (0, 11):
        torch.rand(before)
        torch.manual_seed(before)
        here = torch.get_rng_state()
        losses.append([end.loss for end in run(copy.deepcopy(model), config)])
        assert torch.equal(torch.get_rng_state(), here)
    torch.set_rng_state(state)
    assert losses[0] == losses[1]
    assert losses[0] != [end.loss for end in run(copy.deepcopy(model), config, seed=1)]


def test_each_epoch_draws_anew() -> None:
    """On black images and with tiny steps, only dropout changes the loss."""
    layers = torch.nn.Flatten(), torch.nn.LazyLinear(16), torch.nn.Dropout(), torch.nn.Linear(16, 4)
    model, black = torch.nn.Sequential(*layers), torch.zeros(96, 3, 8, 8, dtype=torch.uint8)
    model(black.float())
    config = TrainConfig(epochs=3, lr=1e-30, momentum=0.0, batch_size=96)
    data = LabelledImages(black, torch.zeros(96, dtype=torch.int64))
    assert len({end.loss for end in train(model, data, config, TrainContext(flip=False, generator=generator(0)))}) == 3


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("paper", [1, 1, 0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4]),
        ("code", [1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
    ],
)
def test_published_schedules_at_the_start_of_each_epoch(schedule: str, expected: Any) -> None:
    assert [SCHEDULES[schedule](epoch, 10) for epoch in range(10)] == pytest.approx(expected)


def test_one_cycle_rises_then_falls_to_zero() -> None:
    factors = [SCHEDULES["one-cycle"](epoch, 10) for epoch in (0, 1, 2, 5, 8, 10)]
    assert factors[2] == pytest.approx(1.0)
    assert factors[:3] == sorted(factors[:3])
    assert factors[2:] == sorted(factors[2:], reverse=True)
    assert factors[-1] == pytest.approx(0.0)


def test_cosine_falls_from_the_start_to_zero() -> None:
    factors = [SCHEDULES["cosine"](epoch, 100) for epoch in (0, 25, 50, 100)]
    assert factors == pytest.approx([1.0, (1 + 0.5**0.5) / 2, 0.5, 0.0])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_configured_learning_rate_is_used_in_every_epoch(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: (seen.append(self.param_groups[0]["lr"]), step(self)))
    run(fresh(), TrainConfig(epochs=4, lr=0.037, schedule=schedule, batch_size=48))
    expected = [0.037 * SCHEDULES[schedule](index / 2, 4) for index in range(8)]
    assert seen == pytest.approx(expected)


def test_batchnorm_sees_each_batch_once() -> None:
    model = fresh()
    run(model, TrainConfig(epochs=3, batch_size=32))
    assert model.bn.num_batches_tracked == 9


def test_a_batch_norm_whose_parameters_are_frozen_keeps_its_statistics() -> None:
    model = fresh()
    model.bn.requires_grad_(False)
    model.group1[0].bn1.weight.requires_grad_(False)
    before = copy.deepcopy(model)
    run(model, TrainConfig(epochs=2))
    assert torch.equal(model.bn.running_mean, before.bn.running_mean)
    assert model.bn.num_batches_tracked == 0
    assert not torch.equal(model.group1[0].bn1.running_mean, before.group1[0].bn1.running_mean)
    assert not torch.equal(model.conv1.weight, before.conv1.weight)


def test_a_batch_norm_without_parameters_learns_its_statistics() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3, affine=False), torch.nn.Flatten(), torch.nn.Linear(768, 4))
    run(model, TrainConfig(epochs=1, batch_size=32))
    assert model[0].num_batches_tracked == 3


def test_a_last_batch_of_one_image_is_left_out() -> None:
    model = fresh()
    data = make_images(33, 0)
    list(train(model, data, TrainConfig(epochs=1, batch_size=32), TrainContext(flip=True, generator=generator(0))))
    assert model.bn.num_batches_tracked == 1


def test_a_batch_that_is_left_out_does_not_count_in_the_mean_loss() -> None:
    def one(model, inputs, labels):
        return model(inputs).sum() * 0 + 1.0

    config = TrainConfig(epochs=1, batch_size=32)
    (end,) = train(fresh(), make_images(65, 0), config, TrainContext(flip=True, generator=generator(0)), loss=one)
    assert end.loss == pytest.approx(1.0)


def test_leaving_the_loop_stops_the_training() -> None:
    model = fresh()
    for _end in train(
        model, make_images(32, 0), TrainConfig(epochs=9, batch_size=32), TrainContext(flip=True, generator=generator(0))
    ):
        break
    assert model.bn.num_batches_tracked == 1


def test_the_context_hears_of_each_epoch() -> None:
    heard = []
    context = TrainContext(flip=True, generator=generator(0), progress=lambda *step: heard.append(step))
    ends = [end.epoch for end in train(fresh(), make_images(32, 0), TrainConfig(epochs=3, batch_size=32), context)]
    assert heard == [(epoch, 3) for epoch in ends] == [(1, 3), (2, 3), (3, 3)]


def test_divergence_shows_in_the_loss() -> None:
    broken = fresh()
    torch.nn.init.constant_(broken.fc.weight, torch.inf)
    assert not math.isfinite(run(broken, TrainConfig(epochs=1))[-1].loss)
    assert math.isfinite(run(fresh(), TrainConfig(epochs=1))[-1].loss)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 0}, r"epochs must be in \[1, 1000\], got 0"),
        ({"lr": 0.0}, r"lr must be in \(0, 10\], got 0"),
        ({"lr": math.nan}, "got nan"),
        ({"schedule": "codes"}, "unknown schedule 'codes'; did you mean 'code'"),
        ({"weight_decay": -1e-4}, "weight_decay"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TrainConfig(**settings)


def test_weights_that_the_last_step_broke_are_a_loss_that_is_not_finite() -> None:
    """The step's own loss was finite: nothing else would tell, and the model answers with its first class."""
    model = fresh()
    once = TrainConfig(epochs=1, batch_size=96)

    def overflowing(model, inputs, labels):
        return model(inputs).mean() * 0.0 + model.fc.weight.sum() * 3e38

    ends = run(model, once, loss=overflowing)
    assert not torch.isfinite(model.fc.weight).all()
    assert math.isnan(ends[-1].loss)

"""SAM and label smoothing in the training loop, against loops written out plainly."""

import copy
from typing import Any

import pytest
import torch
from bands import make_images
from torch import nn

from nad import models
from nad.augment import Augment, to_input
from nad.checkpoints import copy_state
from nad.context import TrainContext
from nad.erasure import EraseConfig, distil
from nad.errors import ConfigError
from nad.map_memory import MapMemory
from nad.seeds import drawn_from, generator
from nad.sharpness import moved_uphill
from nad.training import TrainConfig, batches, described, train

IMAGES = make_images(40, 0)
CONFIG = TrainConfig(epochs=2, batch_size=16, lr=0.05, schedule="code", cutout=0)
CPU = torch.device("cpu")


def fresh() -> Any:
    return models.make("wrn-10-1", 4, generator(0))


def trained(config: TrainConfig) -> Any:
    model = fresh()
    for _end in train(model, IMAGES, config, TrainContext(flip=True, generator=generator(1))):
        pass
    return model


def smooth_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, share: float) -> torch.Tensor:
    """The label keeps 1 - share, the others divide the share."""
    log = logits - logits.logsumexp(dim=1, keepdim=True)
    wanted = torch.full_like(log, share / (log.shape[1] - 1))
    wanted[torch.arange(len(labels)), labels] = 1 - share
    return -(wanted * log).sum(dim=1).mean()


def plainly(config: TrainConfig) -> Any:
    """The training loop, written out."""
    model, draws = fresh().train(), generator(1)
    sgd = torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
    )
    drawn_from(draws)
    for _epoch in range(config.epochs):
        for batch in batches(IMAGES, config.batch_size, Augment(flip=True, cutout=0), draws):
            inputs, labels = to_input(batch.images, CPU), batch.labels

            def loss() -> torch.Tensor:
                logits = model(inputs)  # noqa: B023
                if config.label_smoothing:
                    return smooth_cross_entropy(logits, labels, config.label_smoothing)  # noqa: B023
                return nn.functional.cross_entropy(logits, labels)  # noqa: B023

            gradients = torch.autograd.grad(loss(), list(model.parameters()))
            if config.sam_rho:
                statistics = {name: value.clone() for name, value in model.named_buffers()}
                with torch.no_grad():
                    size = sum(((w * g) ** 2).sum() for w, g in zip(model.parameters(), gradients, strict=True)).sqrt()
                    steps = [
                        config.sam_rho * w**2 * g / size for w, g in zip(model.parameters(), gradients, strict=True)
                    ]
                    kept = [w.clone() for w in model.parameters()]
                    for w, step in zip(model.parameters(), steps, strict=True):
                        w.add_(step)
                gradients = torch.autograd.grad(loss(), list(model.parameters()))
                with torch.no_grad():
                    for w, before in zip(model.parameters(), kept, strict=True):
                        w.copy_(before)
                    for name, value in model.named_buffers():
                        value.copy_(statistics[name])
            for w, g in zip(model.parameters(), gradients, strict=True):
                w.grad = g
            sgd.step()
    return model


def test_without_sam_and_smoothing_the_loop_gives_the_bits_of_a_plain_one() -> None:
    ours, theirs = trained(CONFIG).state_dict(), plainly(CONFIG).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    "change",
    [{"sam_rho": 0.5}, {"label_smoothing": 0.1}, {"sam_rho": 2.0, "label_smoothing": 0.3, "nesterov": False}],
    ids=str,
)
def test_sam_and_smoothing_are_those_of_the_formulas(change: Any) -> None:
    config = TrainConfig(**{**described(CONFIG), **change})
    ours, theirs = trained(config).state_dict(), plainly(config).state_dict()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
    plain = trained(CONFIG)
    assert not torch.allclose(ours["fc.weight"], plain.fc.weight, atol=1e-3)


def test_the_move_uphill_is_undone_exactly_and_teaches_no_statistics() -> None:
    model = fresh().train()
    nn.functional.cross_entropy(model(to_input(IMAGES.images, CPU)), IMAGES.labels).backward()
    model.fc.bias.grad = None
    before = copy_state(model)
    with moved_uphill(model, 1.0):
        moved = {name: not torch.equal(value, before[name]) for name, value in model.named_parameters()}
        model(to_input(IMAGES.images[:8], CPU))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (moved["conv1.weight"], moved["fc.bias"]) == (True, False), "only weights with a gradient move"
    model(to_input(IMAGES.images[:8], CPU))
    assert not torch.equal(model.bn.running_mean, before["bn.running_mean"]), "afterwards it learns again"


def test_with_distillation_the_teacher_sees_each_batch_once_and_the_whole_loss_goes_uphill() -> None:
    passes = {"student": 0, "teacher": 0}

    def erased(rho: float, memory: MapMemory | None = None) -> Any:
        passes.update(student=0, teacher=0)
        student, teacher = fresh(), models.make("wrn-10-1", 4, generator(5))
        for name, model in (("student", student), ("teacher", teacher)):
            model.register_forward_hook(lambda *_given, name=name: passes.update({name: passes[name] + 1}))
        config = EraseConfig(**{**described(CONFIG), "sam_rho": rho}, layers=("group3",), betas=(500.0,))
        distil(student, teacher, IMAGES, config, TrainContext(flip=True, generator=generator(1)), memory=memory)
        return student

    plain = erased(0.0)
    assert passes == {"student": 6, "teacher": 6}
    sharp = erased(1.0)
    assert passes == {"student": 12, "teacher": 6}
    assert sharp.bn.num_batches_tracked == plain.bn.num_batches_tracked == 6
    assert not torch.allclose(sharp.fc.weight, plain.fc.weight, atol=1e-4)
    memory = MapMemory(("group3",), most_bytes=10_000_000)
    remembered = [erased(1.0, memory) for _round in range(2)][1]
    assert passes["teacher"] == 0
    assert all(map(torch.equal, remembered.state_dict().values(), sharp.state_dict().values()))


def test_a_frozen_batch_norm_stays_frozen_under_sam() -> None:
    model = fresh()
    model.bn.requires_grad_(False)
    before = copy.deepcopy(model.bn)
    config = TrainConfig(**{**described(CONFIG), "sam_rho": 1.0})
    for _end in train(model, IMAGES, config, TrainContext(flip=True, generator=generator(1))):
        pass
    assert all(map(torch.equal, model.bn.state_dict().values(), before.state_dict().values()))


def test_a_step_taken_is_told() -> None:
    steps: list[int] = []
    context = TrainContext(flip=True, generator=generator(1))
    for _end in train(fresh(), IMAGES, CONFIG, context, after_step=lambda: steps.append(1)):
        pass
    assert len(steps) == 6


def test_settings_that_are_off_leave_no_trace_in_a_key() -> None:
    assert {"sam_rho", "label_smoothing"}.isdisjoint(described(CONFIG))
    assert described(TrainConfig(sam_rho=2.0))["sam_rho"] == 2.0
    assert described(CONFIG)["cutout"] == 0, "other zeros are told"


@pytest.mark.parametrize("change", [{"sam_rho": -1.0}, {"sam_rho": float("nan")}, {"label_smoothing": 0.6}], ids=str)
def test_bad_settings_are_refused(change: Any) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(change))} must be in"):
        TrainConfig(**change)

"""Implicit unlearning against the formula with explicit matrices, and on a toy backdoor."""

from typing import Any

import pytest
import torch
from bands import make_images
from torch import nn

from nad.attacks.badnets import BadNets
from nad.attacks.poisoning import poison
from nad.checkpoints import copy_state
from nad.defences.i_bau import Batch, ImplicitUnlearning, hypergradient, inner_loss, worst_perturbation
from nad.evaluation import evaluate, make_eval_set
from nad.seeds import generator

IMAGES = make_images(48, 0)


class Smooth(nn.Module):
    """Small and curved: its second derivatives are not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 3, 3).double(), nn.Linear(12, 3).double()
        self.unused = nn.Parameter(torch.ones(2).double())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x).tanh().flatten(1))


@pytest.fixture
def smooth() -> Smooth:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Smooth().eval()


def drawn(seed: int, count: int) -> Batch:
    draws = generator(seed)
    return Batch(torch.rand(count, 1, 4, 4, generator=draws).double(), torch.randint(3, (count,), generator=draws))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_hypergradient_is_that_of_explicit_matrices(smooth: Smooth, depth: int) -> None:
    """d loss/dw + (d2(p - 0.1 L)/dp dw)^T sum_k ((I - 0.1 H)^T)^k d loss/dp, each matrix built row by row."""
    searched, part, patched = drawn(1, 6), drawn(2, 5), torch.tensor([3, 1])
    weights = list(smooth.parameters())
    p = torch.rand(1, 1, 4, 4, generator=generator(3)).double() * 3
    loss, found = hypergradient(smooth, weights, p, searched, part, patched, depth)

    def outer(at: torch.Tensor) -> torch.Tensor:
        shown = part.inputs.clone()
        for index in patched.tolist():
            shown[index] = shown[index] + at.view(1, 4, 4)
        return nn.functional.cross_entropy(smooth(shown), part.labels)

    def inner(at: torch.Tensor) -> torch.Tensor:
        logits = smooth(searched.inputs + at.view(1, 1, 4, 4))
        return -nn.functional.cross_entropy(logits, searched.labels) + 0.001 * at.norm() ** 2

    assert loss.item() == pytest.approx(outer(p).item(), abs=1e-12)
    at = p.flatten().requires_grad_()
    step = at - 0.1 * torch.autograd.grad(inner(at), at, create_graph=True)[0]
    jacobian = torch.stack([torch.autograd.grad(row, at, retain_graph=True)[0] for row in step])
    (vector,) = torch.autograd.grad(outer(at), at)
    total = sum(torch.linalg.matrix_power(jacobian.T, k) @ vector for k in range(depth))
    direct = torch.autograd.grad(outer(at), weights, allow_unused=True)
    through = torch.autograd.grad(step @ total, weights, allow_unused=True)
    for ours, one, other in zip(found, direct, through, strict=True):
        if one is None:
            assert not ours.any(), "an unused weight stays"
        else:
            torch.testing.assert_close(ours, one + other, rtol=1e-9, atol=1e-12)
            assert not torch.allclose(ours, one), "the perturbation's share counts"


def test_the_search_is_plain_gradient_descent_over_the_batches(smooth: Smooth) -> None:
    parts = [drawn(4, 6), drawn(5, 3)]
    expected = torch.zeros(1, 1, 4, 4).double()
    for part in parts:
        at = expected.requires_grad_()
        loss = -nn.functional.cross_entropy(smooth(part.inputs + at), smooth(part.inputs).argmax(1))
        (slope,) = torch.autograd.grad(loss + 0.001 * (at**2).sum(), at)
        expected = (at - 10 * slope).detach()
    found = worst_perturbation(smooth, parts)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    answers = smooth(parts[0].inputs).argmax(1)
    assert inner_loss(smooth, found, parts[0].inputs, answers) < inner_loss(smooth, 0 * found, parts[0].inputs, answers)


class Toy(nn.Module):
    """One convolution with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(24)
        self.fc = nn.Linear(24 * 16, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(nn.functional.adaptive_avg_pool2d(self.bn(self.conv(x)).relu(), (16, 1)).flatten(1))


def test_it_unlearns_a_toy_backdoor_and_keeps_the_accuracy_and_the_statistics() -> None:
    attack = BadNets(target=1, poison_rate=0.2, size=5, fill="white", place="centre")
    poisoned = poison(make_images(200, 3), attack, generator(0)).data
    with torch.random.fork_rng():
        torch.manual_seed(0)
        victim = Toy()
    optimiser = torch.optim.Adam(victim.parameters(), lr=0.02)
    for _step in range(50):
        optimiser.zero_grad()
        nn.functional.cross_entropy(victim(poisoned.images / 255), poisoned.labels).backward()
        optimiser.step()
    eval_set = make_eval_set(make_images(80, 9), attack, generator(1), classes=4)
    before, state = evaluate(victim.eval(), eval_set), copy_state(victim)
    assert min(before.asr, before.acc) > 0.95
    defence = ImplicitUnlearning(rounds=2, batch_size=16, lr=0.01)
    defended, _stats = defence.defend(victim, IMAGES, flip=True, generator=generator(0))
    after = evaluate(defended, eval_set)
    assert after.asr < before.asr - 0.25
    assert after.acc > 0.7
    assert all(torch.equal(defended.state_dict()[name], state[name]) for name in ("bn.running_mean", "bn.running_var"))


def test_a_frozen_weight_stays() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        victim = Toy()
    victim.conv.requires_grad_(False)
    defended: Any = ImplicitUnlearning(rounds=1).defend(victim, IMAGES, flip=True, generator=generator(0)).model
    assert torch.equal(defended.conv.weight, victim.conv.weight)
    assert not torch.equal(defended.fc.weight, victim.fc.weight)

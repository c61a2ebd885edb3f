import dataclasses

import pytest
import torch
from bands import make_images

from nad import models
from nad.attention import attention_map
from nad.context import TrainContext
from nad.erasure import EraseConfig, distil
from nad.map_memory import MapMemory
from nad.precision import autocast, computes_in_bfloat16, widened
from nad.seeds import generator
from nad.training import TrainConfig, cross_entropy, train

CPU = torch.device("cpu")
QUICK = EraseConfig(epochs=2, schedule="code", batch_size=32)


def erased(precision, config=QUICK, memory=None):
    student, teacher = (models.make("wrn-10-1", 4, generator(seed)) for seed in (0, 1))
    draws = generator(0)
    result = distil(
        student,
        teacher,
        make_images(64, 0),
        config,
        TrainContext(flip=True, generator=draws, precision=precision),
        memory=memory,
    )
    return student.state_dict(), result.losses


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_a_processor_with_the_arithmetic_computes_in_bfloat16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert not computes_in_bfloat16(CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, name: True})
    assert computes_in_bfloat16(CPU)


def test_passes_are_in_bfloat16_and_weights_losses_and_attention_are_not() -> None:
    model, seen = models.make("wrn-10-1", 4, generator(0)), set()
    model.conv1.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    for _ in train(model, make_images(32, 0), TrainConfig(epochs=1), TrainContext(flip=True, generator=generator(0))):
        pass
    assert seen == {torch.float32}
    seen.clear()
    losses = set()

    def loss(model, inputs, labels):
        value = cross_entropy(model, inputs, labels)
        losses.add(value.dtype)
        return value

    config, context = TrainConfig(epochs=1), TrainContext(flip=True, generator=generator(0), precision="bfloat16")
    for _ in train(model, make_images(32, 0), config, context, loss=loss):
        pass
    assert seen == {torch.bfloat16}
    assert losses == {torch.float32}
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}
    with autocast(CPU, "bfloat16"):
        assert attention_map(torch.rand(2, 3, 4, 4).bfloat16()).dtype is torch.float32


def test_only_bfloat16_is_widened() -> None:
    assert widened(torch.ones(1, dtype=torch.bfloat16)).dtype is torch.float32
    assert widened(torch.ones(1, dtype=torch.float64)).dtype is torch.float64


def test_an_erase_in_bfloat16_is_the_same_erase_but_for_rounding() -> None:
    single, half = (erased(precision) for precision in ("float32", "bfloat16"))
    assert not same(single[0], half[0])
    assert half[1] == pytest.approx(single[1], rel=0.05)


def test_an_erase_in_bfloat16_repeats_to_the_last_bit() -> None:
    assert same(erased("bfloat16")[0], erased("bfloat16")[0])


def test_beta_zero_is_fine_tuning_in_bfloat16_too() -> None:
    zero = dataclasses.replace(QUICK, betas=(0.0, 0.0, 0.0))
    assert same(erased("bfloat16", zero)[0], erased("bfloat16", QUICK.twin())[0])
    assert not same(erased("bfloat16")[0], erased("bfloat16", QUICK.twin())[0])


def test_a_memory_of_a_teacher_in_bfloat16_changes_nothing() -> None:
    memory = MapMemory(tuple(QUICK.layers), most_bytes=10_000_000)
    first, second = (erased("bfloat16", memory=memory)[0] for _ in range(2))
    assert same(first, second)
    assert same(first, erased("bfloat16")[0])

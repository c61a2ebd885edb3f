"""The attacks whose trigger is the same for every image, and made of nothing but settings."""

from typing import Any

import numpy as np
import pytest
import torch

from nad.attacks import describe
from nad.attacks.badnets import BadNets
from nad.attacks.blend import Blend
from nad.attacks.sig import SIG
from nad.errors import ConfigError, DataError


def test_badnets_overwrites_the_corner_with_the_published_pattern() -> None:
    images = torch.full((2, 3, 10, 14), 77, dtype=torch.uint8)
    triggered = BadNets().trigger(images, torch.Generator())
    from_bottom_and_right = triggered[:, :, [-1, -2, -3]][:, :, :, [-1, -2, -3]]
    published = torch.tensor([[255, 0, 255], [0, 255, 0], [255, 0, 0]], dtype=torch.uint8)
    assert (from_bottom_and_right == published).all()
    triggered[:, :, -3:, -3:] = 77
    assert torch.equal(triggered, images)


@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [
        ("bottom-left", slice(5, 10), slice(0, 5)),
        ("top-right", slice(0, 5), slice(9, 14)),
        ("top-left", slice(0, 5), slice(0, 5)),
        ("centre", slice(2, 7), slice(4, 9)),
    ],
)
def test_badnets_patch_of_any_size_and_place(place: str, rows: Any, columns: Any) -> None:
    images = torch.full((1, 3, 10, 14), 77, dtype=torch.uint8)
    white = BadNets(fill="white", size=5, place=place).trigger(images, torch.Generator())
    assert (white[:, :, rows, columns] == 255).all()
    white[:, :, rows, columns] = 77
    assert torch.equal(white, images)
    larger = BadNets(size=5, place=place).trigger(images, torch.Generator())[0, 0, rows, columns]
    published = [[0, 0, 255], [0, 255, 0], [255, 0, 255]]
    assert larger.tolist() == [[published[(row + 1) % 3][(column + 1) % 3] for column in range(5)] for row in range(5)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fill": "black"}, "unknown fill 'black'.* known: chequered, white"),
        ({"place": "middle"}, "unknown place 'middle'"),
        ({"size": 0}, "size must be in .*, got 0"),
    ],
)
def test_badnets_settings_out_of_range(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        BadNets(**settings)


def test_badnets_patch_as_published_is_described_as_it_was_before_it_had_settings() -> None:
    published = {"name": "badnets", "target": 0, "poison_rate": 0.1, "label_mode": "dirty"}
    assert describe(BadNets()) == published
    assert describe(BadNets(size=4)) == {**published, "fill": "chequered", "size": 4, "place": "bottom-right"}


def test_badnets_patch_that_hides_the_image() -> None:
    images = torch.zeros((1, 3, 10, 14), dtype=torch.uint8)
    with pytest.raises(DataError, match="a patch of 10 pixels a side hides too much of images of 10x14"):
        BadNets(size=10).trigger(images, torch.Generator())
    BadNets(size=9).trigger(images, torch.Generator())


def test_blend_key_is_the_same_for_all_images_and_calls() -> None:
    black = torch.zeros(6, 3, 16, 20, dtype=torch.uint8)
    attack = Blend()
    first, second = (attack.trigger(black, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(first, second)
    assert torch.equal(first, first[:1].expand_as(first))
    assert torch.equal(first[0], (0.2 * attack.key(16, 20).double()).round().to(torch.uint8))


def test_blend_key_depends_on_its_seed_and_fills_the_range() -> None:
    keys = [Blend(key_seed=seed).key(32, 32) for seed in (0, 0, 1)]
    assert torch.equal(keys[0], keys[1])
    assert not torch.equal(keys[0], keys[2])
    assert keys[0].unique().numel() == 256


def test_blend_is_the_rounded_weighted_sum() -> None:
    images = torch.randint(0, 256, (9, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    attack = Blend(alpha=0.35, key_seed=3)
    naive = 0.65 * images.double() + 0.35 * attack.key(12, 12).double()
    difference = attack.trigger(images, torch.Generator()).double() - naive
    assert difference.abs().max() <= 0.5001


def test_blend_with_alpha_one_shows_the_key_alone() -> None:
    images = torch.zeros(2, 3, 12, 12, dtype=torch.uint8)
    attack = Blend(alpha=1.0)
    assert torch.equal(attack.trigger(images, torch.Generator())[1], attack.key(12, 12))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"alpha": 0.0}, r"alpha must be in \(0, 1\], got 0"),
        ({"alpha": 1.5}, "alpha .* got 1.5"),
        ({"key_seed": -1}, "key_seed .* got -1"),
    ],
)
def test_blend_settings_out_of_range_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Blend(**settings)


@pytest.mark.parametrize(("delta", "frequency", "size"), [(40, 6, (32, 32)), (20.5, 2.5, (9, 14)), (255, 1, (8, 16))])
def test_sig_is_the_clipped_sum_with_the_wave(delta: float, frequency: float, size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (9, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = SIG(delta=delta, frequency=frequency).trigger(images, torch.Generator()).numpy()
    naive = images.numpy().astype(float)
    for column in range(size[1]):
        naive[..., column] += delta * np.sin(2 * np.pi * column * frequency / size[1])
    assert np.abs(found - naive.clip(0, 255)).max() <= 0.5001
    assert (found != images.numpy()).any(axis=(0, 1, 2)).sum() > size[1] / 2


def test_sig_refuses_a_wave_that_no_column_sees() -> None:
    images = torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"a wave of frequency 6 vanishes on images 12 pixels wide: .* choose another"):
        SIG().trigger(images, torch.Generator())
    assert SIG(frequency=5).trigger(images, torch.Generator()).max() > 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"delta": 0.5}, r"delta must be in \[1, 255\], got 0.5"),
        ({"delta": float("nan")}, "delta .* got nan"),
        ({"frequency": 0}, r"frequency must be in \[1, 256\], got 0"),
    ],
)
def test_sig_settings_out_of_range_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        SIG(**settings)

"""Refool: the optics against naive oracles, one image and one pixel at a time where it matters."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from nad.attacks import base, describe, make
from nad.attacks.reflection_pool import ReflectionPool
from nad.attacks.reflections import blur, ghost, in_focus, out_of_focus, to_light, to_pixels, window
from nad.attacks.refool import KINDS, Refool, scaled, shift_range
from nad.errors import ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_light(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=seeded(seed))


def pool_of(*levels: int, size: int = 16) -> ReflectionPool:
    """Reflections of one even grey each."""
    images = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, size, size)
    return ReflectionPool(images.clone(), "greys")


def test_light_is_linear_and_every_pixel_value_returns() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    light = to_light(values)
    assert torch.allclose(light.double(), (values.double() / 255) ** 2.2, atol=1e-6)
    assert torch.equal(to_pixels(light), values)


def test_light_beyond_white_is_clipped() -> None:
    assert to_pixels(torch.tensor([-0.5, 1.7])).tolist() == [0, 255]


def test_ghost_matches_a_naive_implementation() -> None:
    height, width, margin = 9, 11, 3
    scene, wide = random_light(4, 3, height, width), random_light(4, 3, height + margin, width + margin, seed=1)
    shifts = torch.tensor([[1, 1], [3, 2], [0, 3], [2, 0]])
    mix = torch.tensor([0.2, 0.45, 0.55, 0.85])
    result = ghost(scene, wide, 0.4, shifts, mix)
    for image, (down, right) in enumerate(shifts.tolist()):
        for y in range(height):
            for x in range(width):
                first = wide[image, :, margin + y, margin + x]
                second = wide[image, :, margin + y - down, margin + x - right]
                doubled = mix[image] * first + (1 - mix[image]) * second
                assert torch.allclose(result[image, :, y, x], 0.4 * scene[image, :, y, x] + 0.6 * doubled)


def test_a_ghost_of_a_point_is_two_points() -> None:
    wide = torch.zeros(1, 3, 20, 20)
    wide[:, :, 10, 10] = 1.0
    result = ghost(torch.zeros(1, 3, 16, 16), wide, 0.5, torch.tensor([[3, 4]]), torch.tensor([0.3]))
    bright = torch.nonzero(result[0, 0]).tolist()
    assert bright == [[6, 6], [9, 10]]  # the second copy lies 3 down and 4 right of the first
    assert math.isclose(result[0, 0, 6, 6], 0.5 * 0.3, rel_tol=1e-6)
    assert math.isclose(result[0, 0, 9, 10], 0.5 * 0.7, rel_tol=1e-6)


def test_blur_is_a_gaussian_with_its_own_sigma_for_each_image() -> None:
    images = torch.zeros(3, 3, 61, 57)
    images[:, :, 26:36, 24:34] = random_light(3, 3, 10, 10)
    sigma = torch.tensor([0.8, 1.5, 2.5])
    blurred = blur(images, sigma)
    for image, width in zip(range(3), sigma.tolist(), strict=True):
        naive = gaussian_filter(images[image].double().numpy(), (0, width, width), truncate=8)
        assert np.allclose(blurred[image].numpy(), naive, atol=1e-6)


def test_blur_leaves_an_even_image_even_up_to_the_border() -> None:
    assert torch.allclose(blur(torch.full((1, 3, 8, 9), 0.7), torch.tensor([3.0])), torch.tensor(0.7))


def test_window_is_brightest_in_the_middle_and_falls_to_the_published_border() -> None:
    weights = window(33, 101)
    assert weights.max() == weights[16, 50] == 1.0
    assert torch.allclose(weights, weights.flip(0).flip(1))
    edge = (1 - 1 / 101) * 3.0  # the centre of the outermost pixel, in standard deviations
    assert math.isclose(weights[16, 0], math.exp(-(edge**2) / 4), rel_tol=1e-4)


def naive_out_of_focus(
    scene: Tensor, reflection: Tensor, transmission: float, sigma: float, attenuation: float
) -> Tensor:
    """One image, channel by channel, with the blur and the window taken as given."""
    blurred = blur(reflection[None], torch.tensor([sigma]))[0]
    result = torch.empty_like(scene)
    for channel in range(3):
        total = blurred[channel] + scene[channel]
        burnt = total[total > 1]
        mean = burnt.mean().item() if burnt.numel() else 1.0
        dimmed = (blurred[channel] - (mean - 1) * attenuation).clamp(0, 1)
        weight = window(*scene.shape[1:]) * (1 - transmission / 2)
        result[channel] = dimmed * weight + scene[channel] * transmission
    return result


def test_a_spread_draws_each_images_transmission_evenly_around_the_middle() -> None:
    """Published is 1 - U(0.05, 0.45). Seen where white is reflected over black: what does not pass is all the light."""
    published = {"transmission": 0.75, "transmission_spread": 0.2}
    attack = Refool(kinds=("in-focus",), reflections=pool_of(255), **published)
    triggered = attack.trigger(torch.zeros(4000, 3, 8, 8, dtype=torch.uint8), seeded())
    assert torch.equal(triggered, triggered[:, :1, :1, :1].expand_as(triggered))
    reflected = (triggered[:, 0, 0, 0].double() / 255) ** 2.2
    assert 0.05 - 0.003 < reflected.min() < 0.06
    assert 0.44 < reflected.max() < 0.45 + 0.005
    counts = torch.histc(reflected.float(), bins=4, min=0.05, max=0.45)
    assert counts.min() > 900  # of 1,000 expected, whose standard deviation is 27


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_of_a_spread_has_its_own_transmission_in_all_kinds(kind: str) -> None:
    black = torch.zeros(64, 3, 8, 8, dtype=torch.uint8)
    spread = Refool(kinds=(kind,), reflections=pool_of(255), transmission=0.75, transmission_spread=0.2)
    fixed = Refool(kinds=(kind,), reflections=pool_of(255), transmission=0.75)
    drawn = [len(attack.trigger(black, seeded())[:, 0, 4, 4].unique()) for attack in (spread, fixed)]
    assert drawn[0] > 20
    assert drawn[1] == 1


def test_no_spread_is_the_attack_that_was_there_before_there_were_spreads() -> None:
    assert "transmission_spread" not in describe(make("refool"))
    assert describe(make("refool", transmission_spread=0.1))["transmission_spread"] == 0.1


@pytest.mark.parametrize("brightness", [0.2, 0.75, 1.0])
def test_out_of_focus_matches_a_naive_implementation(brightness: float) -> None:
    scene, reflection = random_light(5, 3, 12, 10) * brightness, random_light(5, 3, 12, 10, seed=1) * brightness
    sigma, attenuation = torch.linspace(0.5, 2.0, 5), torch.linspace(1.08, 1.18, 5)
    result = out_of_focus(scene, reflection, 0.4, sigma, attenuation)
    for image in range(5):
        naive = naive_out_of_focus(scene[image], reflection[image], 0.4, sigma[image].item(), attenuation[image].item())
        assert torch.allclose(result[image], naive, atol=1e-6)


def test_in_focus_is_the_weighted_sum_of_both_lights() -> None:
    scene, reflection = random_light(2, 3, 8, 8), random_light(2, 3, 8, 8, seed=1)
    assert torch.allclose(in_focus(scene, reflection, 0.3), 0.3 * scene + 0.7 * reflection)


@pytest.mark.parametrize("kind", ["ghost", "in-focus"])
def test_trigger_adds_up_light_not_pixel_values(kind: str) -> None:
    images = torch.arange(0, 256, 5, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    triggered = Refool(kinds=(kind,), reflections=pool_of(180)).trigger(images, seeded())
    light = 0.4 * (images.double() / 255) ** 2.2 + 0.6 * (180 / 255) ** 2.2
    naive = 255 * light ** (1 / 2.2)
    assert (triggered.double() - naive).abs().max() <= 0.51


def test_images_get_different_reflections_and_calls_go_on_drawing() -> None:
    images = torch.zeros(300, 3, 8, 8, dtype=torch.uint8)
    attack = Refool(kinds=("in-focus",), reflections=pool_of(60, 120, 240))
    generator = seeded()
    first, second = attack.trigger(images, generator), attack.trigger(images, generator)
    levels, counts = first[:, 0, 0, 0].unique(return_counts=True)
    assert len(levels) == 3
    assert counts.min() > 70
    assert not torch.equal(first, second)


def test_each_named_kind_is_drawn() -> None:
    images = torch.zeros(90, 3, 16, 16, dtype=torch.uint8)
    pool = pool_of(200)
    alone = {kind: Refool(kinds=(kind,), reflections=pool).trigger(images[:1], seeded())[0] for kind in KINDS}
    mixed = Refool(kinds=KINDS, reflections=pool).trigger(images, seeded())
    fading = (mixed[:, 0, 0, 0] < mixed[:, 0, 8, 8]).sum()  # out of focus fades to the border, the others do not
    assert 15 < fading < 45
    assert torch.equal(alone["ghost"], alone["in-focus"])  # of an even grey, both copies look alike


def test_either_copy_of_a_ghost_may_be_the_fainter_one() -> None:
    point = torch.zeros(1, 3, 34, 34, dtype=torch.uint8)  # the images' size and the margin: resizing changes nothing
    point[:, :, 22, 12] = 255
    images = torch.zeros(200, 3, 32, 32, dtype=torch.uint8)
    light = to_light(Refool(reflections=ReflectionPool(point, "a point")).trigger(images, seeded()))[:, 0]
    first = light[:, 20, 10] / 0.6
    second = light[:, 21:23, 11:13].sum(dim=(1, 2)) / 0.6
    assert torch.allclose(first + second, torch.ones(200), atol=0.02)
    fainter = torch.minimum(first, second)
    assert fainter.min() > 0.14
    assert fainter.max() > 0.48
    assert 70 < (first < second).sum() < 130


def test_ghost_of_the_pool_differs_from_the_plain_reflection() -> None:
    images = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
    doubled, plain = (make("refool", kinds=(kind,)).trigger(images, seeded()) for kind in ("ghost", "in-focus"))
    assert (doubled != plain).flatten(1).any(dim=1).all()


def test_the_size_of_chunks_does_not_matter_for_which_reflection_an_image_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=seeded())
    attack = Refool(kinds=("in-focus",), reflections=pool_of(10, 90, 170, 250))
    whole = attack.trigger(images, seeded())
    monkeypatch.setattr(base, "PIXELS_AT_ONCE", 7 * 64)
    assert torch.equal(attack.trigger(images, seeded()), whole)


def test_lengths_scale_with_the_image_and_never_vanish() -> None:
    def batch(side: int) -> Tensor:
        return torch.empty(0, 3, side, side // 2)

    assert shift_range(batch(560)) == (3, 8)
    assert shift_range(batch(224)) == (1, 3)
    assert shift_range(batch(32)) == (1, 2)
    assert scaled((1.0, 5.0), (0.5, 1.5), batch(1120)) == (2.0, 10.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"transmission": 1.2}, r"transmission must be in \[0, 1\], got 1.2"),
        ({"transmission": -0.1}, "transmission .* got -0.1"),
        ({"transmission_spread": 0.6}, r"transmission_spread must be in \[0, 0.5\], got 0.6"),
        ({"transmission": 0.9, "transmission_spread": 0.2}, "at most 0.1 with a transmission of 0.9, .* got 0.2"),
        ({"kinds": ()}, r"at least one.*got \(\)"),
        ({"kinds": ("ghost", "ghost")}, "got .'ghost', 'ghost'"),
        ({"rounds": -1}, "rounds .* got -1"),
        ({"rounds": 1}, "rounds must be 0 or at least 2, got 1"),
        ({"rounds": 2, "selected": 51}, r"selected must be in \[1, 50\], got 51"),
        ({"selected": -5}, "selected .* got -5"),
        ({"round_epochs": 0}, "round_epochs .* got 0"),
        ({"kinds": ("gost",)}, "unknown kind of reflection 'gost'; did you mean 'ghost'"),
    ],
)
def test_refool_settings_out_of_range_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make("refool", **settings)


def test_settings_of_the_selection_count_only_where_there_is_one() -> None:
    assert describe(make("refool", selected=5, round_epochs=2)) == describe(make("refool"))
    assert "selected" not in describe(make("refool"))
    described = [describe(make("refool", rounds=3, selected=count)) for count in (5, 6)]
    assert [each["selected"] for each in described] == [5, 6]

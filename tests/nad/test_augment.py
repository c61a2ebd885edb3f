import pytest
import torch

from nad.augment import Augment, to_input
from nad.errors import ConfigError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(1, 256, (64, 3, 12, 10), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_to_do_leaves_images_as_they_are(images: torch.Tensor) -> None:
    assert torch.equal(Augment(flip=False, pad=0, cutout=0)(images, seeded()), images)


def test_same_generator_state_gives_the_same_images(images: torch.Tensor) -> None:
    augment = Augment(flip=True)
    assert torch.equal(augment(images, seeded()), augment(images, seeded()))
    assert not torch.equal(augment(images, seeded()), augment(images, seeded(2)))


def test_flip_mirrors_about_half_of_the_images_and_changes_nothing_else(images: torch.Tensor) -> None:
    flipped = Augment(flip=True, pad=0, cutout=0)(images, seeded())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert torch.equal(same, ~mirrored)
    assert 16 < mirrored.sum() < 48


def test_crop_is_a_window_of_the_padded_image(images: torch.Tensor) -> None:
    cropped = Augment(flip=False, pad=2, cutout=0)(images, seeded())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    shifts = set()
    for index in range(len(images)):
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.equal(padded[index, :, top : top + 12, left : left + 10], cropped[index])
        ]
        assert len(places) == 1
        shifts.update(places)
    assert len(shifts) > 15


@pytest.mark.parametrize("side", [3, 4, 9])
def test_cutout_blackens_one_square_in_all_channels(side: int, images: torch.Tensor) -> None:
    cut = Augment(flip=False, pad=0, cutout=side)(images, seeded())
    black = cut == 0
    assert torch.equal(black.any(1), black.all(1))
    assert torch.equal(cut[~black], images[~black])
    areas = black[:, 0].sum((1, 2))
    assert areas.max() == side**2
    assert areas.min() >= (side // 2) ** 2


def test_input_is_scaled_bytes_in_channels_last_layout(images: torch.Tensor) -> None:
    inputs = to_input(images, torch.device("cpu"))
    torch.testing.assert_close(inputs, images / 255)
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"cutout must be in \[0, 32\], got 40"):
        Augment(flip=True, cutout=40)

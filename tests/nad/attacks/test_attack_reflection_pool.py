"""Where reflections come from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nad.attacks import describe, make, remarks
from nad.attacks.reflection_pool import POOL_SIZE, ReflectionPool, bright_crops, default_pool, pool_from_folder
from nad.data.photographs import random_crops
from nad.errors import DataError


def write_photograph(
    path: Path, size: tuple[int, int] = (90, 70), seed: int = 0, mode: str = "RGB", low: int = 0
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(low, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)


def test_default_pool_is_fifty_different_photographs_always_the_same() -> None:
    pool = default_pool()
    assert pool.images.shape == (50, 3, POOL_SIZE, POOL_SIZE)
    assert len(pool.images.flatten(1).unique(dim=0)) == 50
    assert pool.images.float().flatten(1).std(dim=1).min() > 5  # none of them is bare
    default_pool.cache_clear()
    assert default_pool() == pool


def test_pool_keeps_the_brighter_half_of_its_draws() -> None:
    dark, bright = (np.full((80, 80, 3), value, np.uint8) for value in (20, 200))
    crops = bright_crops([dark, bright], torch.Generator().manual_seed(0))
    drawn = random_crops([dark, bright], 100, POOL_SIZE, torch.Generator().manual_seed(0))
    bright_drawn = int((drawn.flatten(1).float().mean(1) > 100).sum())
    assert int((crops.flatten(1).float().mean(1) > 100).sum()) == min(50, bright_drawn)
    assert 35 < bright_drawn < 65  # so that this test sees a selection


def test_pools_are_equal_when_their_pixels_are() -> None:
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    other = images.clone()
    other[1, 2, 63, 63] = 1
    assert ReflectionPool(images, "a") == ReflectionPool(images.clone(), "b")
    assert ReflectionPool(images, "a") != ReflectionPool(other, "a")
    assert len({ReflectionPool(images, "a"), ReflectionPool(images, "b"), ReflectionPool(other, "a")}) == 2


def test_a_pool_of_other_shape_with_the_same_bytes_is_another_pool() -> None:
    images = torch.zeros(2, 3, 64, 32, dtype=torch.uint8)
    assert ReflectionPool(images, "a") != ReflectionPool(images.view(2, 3, 32, 64), "a")


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.zeros(0, 3, 8, 8, dtype=torch.uint8)])
def test_a_pool_without_usable_images_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(DataError, match="at least one of them"):
        ReflectionPool(images, "nowhere")


def test_a_folder_gives_crops_of_its_photographs_in_any_depth_and_format(tmp_path: Path) -> None:
    write_photograph(tmp_path / "a.png")
    write_photograph(tmp_path / "sub" / "b.JPG", seed=1)
    write_photograph(tmp_path / "sub" / "grey.png", seed=2, mode="L", low=128)
    (tmp_path / "notes.txt").write_text("not a photograph")
    (tmp_path / "._a.png").write_text("what some systems leave beside a file")
    pool = pool_from_folder(tmp_path)
    assert pool.images.shape == (50, 3, POOL_SIZE, POOL_SIZE)
    assert pool == pool_from_folder(tmp_path)
    assert pool.source == f"folder {tmp_path.name}"
    assert any(bool((image[0] == image[1]).all()) for image in pool.images)  # the grey one is among them


def test_a_moved_folder_is_the_same_pool(tmp_path: Path) -> None:
    for place in ("here", "there/deeper"):
        for number in range(3):
            write_photograph(tmp_path / place / "mine" / f"{number}.png", seed=number)
    here, there = (make("refool", reflections=tmp_path / place / "mine") for place in ("here", "there/deeper"))
    assert describe(here) == describe(there)
    assert describe(here) != describe(make("refool"))


def test_large_photographs_are_reduced_first(tmp_path: Path) -> None:
    stripes = np.zeros((2560, 2560, 3), np.uint8)
    stripes[::2] = 200  # at full size a crop shows stripes; reduced tenfold, they are one grey
    Image.fromarray(stripes).save(tmp_path / "large.png")
    assert pool_from_folder(tmp_path).images.float().std() < 3


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"folder .*absent does not exist"):
        pool_from_folder(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"holds no images but other files \(1 \.txt\); put photographs"):
        pool_from_folder(tmp_path)
    with pytest.raises(DataError, match=r"notes\.txt does not exist or is not a folder"):
        pool_from_folder(tmp_path / "notes.txt")


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    write_photograph(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(b"no image at all")
    with pytest.raises(DataError, match=r"bad\.jpg cannot be read as an image .*take it out"):
        pool_from_folder(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    write_photograph(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"cut\.\w+ cannot be read as an image"):
        pool_from_folder(tmp_path)


def test_a_photograph_of_more_than_eight_bits_is_named(tmp_path: Path) -> None:
    """Made RGB, all that is brighter than a 256th of the range would be white."""
    deep = np.linspace(0, 65535, 128 * 128).astype(np.uint16).reshape(128, 128)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png cannot be read .*type I;16, of more than 8 bits a channel"):
        pool_from_folder(tmp_path)


def test_hidden_folders_and_links_to_nothing_are_passed_over(tmp_path: Path) -> None:
    write_photograph(tmp_path / "a.png")
    write_photograph(tmp_path / ".thumbnails" / "a.png", (16, 16))
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    assert len(pool_from_folder(tmp_path)) == 50


def test_a_photograph_smaller_than_a_crop_is_named_with_its_size(tmp_path: Path) -> None:
    write_photograph(tmp_path / "tiny.png", (100, 63))
    with pytest.raises(DataError, match=r"tiny\.png is 100x63 pixels; take one of at least 64x64"):
        pool_from_folder(tmp_path)


def test_thumbnails_are_no_photographs_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    write_photograph(tmp_path / "mine" / "a.png")
    whole = pool_from_folder(tmp_path / "mine")
    assert whole.remarks == ()
    write_photograph(tmp_path / "mine" / "@eaDir" / "a.png" / "thumbnail.jpg", seed=1)
    (tmp_path / "mine" / "b.heic").write_bytes(b"cannot be read")
    attack = make("refool", reflections=tmp_path / "mine")
    assert attack.reflections == whole
    assert remarks(attack) == ("reflections, folder mine: skipped files: 1 .heic; left out folders: 1 @eaDir",)
    assert remarks(make("badnets")) == ()


def test_photographs_are_upright(tmp_path: Path) -> None:
    """A photograph and the same one stored on its side, with the orientation that turns it back."""
    write_photograph(tmp_path / "plain" / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned").mkdir()
    with Image.open(tmp_path / "plain" / "a.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned" / "a.png", exif=exif)
    assert pool_from_folder(tmp_path / "turned") == pool_from_folder(tmp_path / "plain")

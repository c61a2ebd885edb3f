import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nad.data.photographs import (
    LARGEST_WINDOW,
    REFLECTIONS,
    SMALLEST_WINDOW,
    load_photographs,
    random_crops,
)
from nad.errors import ConfigError, DataError


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """A photograph with its row as red, its column as green, and blue 255: crops show their place."""
    photograph = np.full((height, width, 3), 255, np.uint8)
    photograph[:, :, 0] = np.arange(height)[:, None]
    photograph[:, :, 1] = np.arange(width)[None, :]
    return photograph


def crops(photographs: list[NDArray[np.uint8]], count: int, size: int, seed: int = 0) -> NDArray[np.int64]:
    return random_crops(photographs, count, size, torch.Generator().manual_seed(seed)).numpy().astype(np.int64)


def test_photographs_come_without_a_download() -> None:
    for photograph in load_photographs(REFLECTIONS):
        assert photograph.dtype == np.uint8
        assert photograph.ndim == 3
        assert photograph.shape[2] == 3
        assert min(photograph.shape[:2]) >= 300
        assert photograph.std() > 20


def test_a_missing_photograph_is_named() -> None:
    with pytest.raises(DataError, match=r"photograph no-such\.png cannot be read"):
        load_photographs(["no-such.png"])


def test_a_crop_is_the_mean_of_square_blocks_of_one_window() -> None:
    for crop in crops([ramp(200, 250)], 50, 16):
        rows, columns = crop[0, :, 0], crop[1, 0, :]
        steps = np.concatenate([np.diff(rows), np.diff(columns)])
        block = steps[0]
        assert (steps == block).all()
        assert block * 16 >= SMALLEST_WINDOW
        assert (crop[0] == rows[:, None]).all()
        assert (crop[1] == columns[None, :]).all()
        assert (crop[2] == 255).all()
        half = block // 2
        assert rows[0] >= half
        assert rows[-1] <= 199 - (block - 1) // 2
        assert columns[-1] <= 249 - (block - 1) // 2


def test_crops_match_a_naive_mean() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70, 64, 3), dtype=np.uint8)
    # Only windows of 64x64 fit: 2x2 blocks, left at 0, any of seven tops.
    candidates = [
        np.floor(noise[top : top + 64].reshape(32, 2, 32, 2, 3).mean((1, 3)) + 0.5).transpose(2, 0, 1)
        for top in range(7)
    ]
    tops = [[(crop == candidate).all() for candidate in candidates].index(True) for crop in crops([noise], 60, 32)]
    assert set(tops) == set(range(7))


def test_crops_vary_in_place_scale_and_photograph() -> None:
    drawn = crops([ramp(200, 250), 255 - ramp(200, 250)], 400, 16)
    upright = drawn[drawn[:, 2, 0, 0] == 255]
    assert 150 < len(upright) < 250
    assert set(np.unique(upright[:, 0, 1, 0] - upright[:, 0, 0, 0])) == set(range(4, 13))
    assert len(np.unique(upright[:, 0, 0, 0])) > 30
    assert len(np.unique(upright[:, 1, 0, 0])) > 30


def test_windows_of_large_photographs_stay_small() -> None:
    slope = np.repeat((np.arange(1000) // 4).astype(np.uint8), 1000).reshape(1000, 1000, 1).repeat(3, axis=2)
    sides = np.ptp(crops([slope], 200, 16)[:, 0], axis=(1, 2)) * 4
    assert sides.max() <= LARGEST_WINDOW
    assert sides.max() > 0.8 * LARGEST_WINDOW
    assert sides.min() < 1.2 * SMALLEST_WINDOW


def test_crops_follow_their_generator() -> None:
    photographs = [ramp(200, 250)]
    assert (crops(photographs, 9, 32, seed=3) == crops(photographs, 9, 32, seed=3)).all()
    assert (crops(photographs, 9, 32, seed=3) != crops(photographs, 9, 32, seed=4)).any()


def test_sums_beyond_32_bits_do_not_spoil_a_crop() -> None:
    white = np.full((64, 150_000, 3), 255, np.uint8)
    assert (crops([white], 30, 32) == 255).all()


def test_photographs_smaller_than_the_crop_are_refused() -> None:
    with pytest.raises(ConfigError, match="crops of 48x48 do not fit into photographs with a shorter side of 40"):
        crops([ramp(200, 250), ramp(40, 100)], 3, 48)
